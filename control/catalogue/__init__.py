"""Files, their copies and every counter of them: the only place that changes a copy's state."""
