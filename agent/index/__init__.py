"""The SQLite index: what the node knows of its files, its uploads and what was told of them."""
