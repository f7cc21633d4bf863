"""Clients that are commands, or libraries of a language other than the browsers'."""
