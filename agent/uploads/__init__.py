"""The write path: from a request to the commit, and everything that is decided on the way."""
