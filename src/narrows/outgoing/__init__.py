"""The requests that the server itself sends, to job endpoints and `notify_url`s: written once, under one guard."""
