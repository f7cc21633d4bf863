"""Traces after W3C's Trace Context: one id for all that a request causes, on whichever machine."""
