"""Files that lie on the node's disks already become stored ones, where they are."""
