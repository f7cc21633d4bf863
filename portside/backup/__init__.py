"""Backups of a control plane as one file each: what is in it, how it is sealed, where it is put."""
