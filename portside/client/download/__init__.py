"""Fetching a file: from whichever nodes have it, verified, through cuts."""
