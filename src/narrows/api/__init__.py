"""The HTTP API. `app.py` holds the route table; one file per resource holds its endpoints."""
