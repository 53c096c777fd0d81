"""The command line: one file per noun. It speaks to a server through `narrows.client` and decides
nothing itself. Not here: what a command does to the waits, which is the server's business."""
