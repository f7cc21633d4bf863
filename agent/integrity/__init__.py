"""Disk and index agree and stay whole: recovery, fsck, reindex, scrubbing, housekeeping."""
