"""Requests of the resumable protocol made by hand, and what must hold after them."""

LONG_VARIABLE = "PORTSIDE_LONG_PROTOCOL_TEST"
"""With a number in it tests go further: so many games, and each hostile name in every way."""
