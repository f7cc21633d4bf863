"""Files on disk and their attributes: staged, committed, verified, quarantined, deleted."""
