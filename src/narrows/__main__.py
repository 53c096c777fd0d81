"""`python -m narrows` is the command line."""

from __future__ import annotations

from narrows.cli.main import main

main()
