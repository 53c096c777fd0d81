"""Background duties: one role, one file, one function; the loop is written once."""
