"""The messages of the HTTP contract, for server and client alike. Imports nothing else of ours."""
