"""Nodes and pools: what they report, whether they answer, and what operators set."""
