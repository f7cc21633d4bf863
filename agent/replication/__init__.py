"""Copies from node to node: ordered, sent, received."""
