"""The rules, pure: no I/O, no clock, no randomness, no logging. Records in, records and facts out."""
