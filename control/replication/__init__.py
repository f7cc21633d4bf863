"""Enough copies of each file: what is missing is ordered, leased and proved, what is too much
goes."""
