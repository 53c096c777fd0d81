"""Every change is an operation: a frozen value with `touches()` and `apply(tx)`. One class per change.

Reads, which never change anything, are values too (`reads.py`).
"""
