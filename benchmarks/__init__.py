"""Measures every target of the project, with load from `wrk` against the server as a user runs it.

`python -m benchmarks.run` is the one command (`make bench`); the other modules are its parts.
"""
