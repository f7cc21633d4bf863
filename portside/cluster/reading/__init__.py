"""A cluster file's text becomes data, and what is wrong with it words that say what to write."""
