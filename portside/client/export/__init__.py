"""A cluster's files, all that are meant, brought to a folder with a list of them."""
