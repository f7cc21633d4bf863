"""Files from `templates/` that a deploy writes, or that people ask for on their machine."""
