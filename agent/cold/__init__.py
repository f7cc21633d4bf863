"""Backup to a bucket and back."""
