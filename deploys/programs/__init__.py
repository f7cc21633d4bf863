"""What nodes run with Debian's own Python, sent as it stands here: the standard library alone."""
