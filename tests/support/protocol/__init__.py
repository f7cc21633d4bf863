"""Requests of the resumable protocol made by hand, and what must hold after them."""
