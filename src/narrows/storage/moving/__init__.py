"""Move a store from one kind of database to the other: `move.py` is the way it goes, over two sides."""
