"""What was promised, and whether it was kept: the journal, the checks, the figures."""
