"""Narrows keeps durable waits: a row in a database until the event arrives, then the waiter goes on.

`narrows.client` is what a program imports; `narrows dev` is what a person types.
This module stays empty of imports so that the client costs only what the client needs.
"""

__version__ = "0.1.0"
