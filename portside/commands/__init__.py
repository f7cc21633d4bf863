"""The `portside` command's groups, one module each: thin, the work is done elsewhere."""
