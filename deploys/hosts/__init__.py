"""What a node is, found out before anything on it is changed."""
