"""What the tests of other people's clients share: a line that breaks, and what clients promise."""
