"""Programs sent to a node over SSH and run there by Debian's Python: the standard library alone."""
