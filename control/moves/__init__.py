"""Moves of files between pools: planned, begun, carried on file by file."""
