"""What makes of a Debian a node, before anything of Portside runs on it."""
