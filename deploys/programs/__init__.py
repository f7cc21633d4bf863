"""What nodes run with Debian's own Python: sent as it stands here, so nothing but the standard library."""
