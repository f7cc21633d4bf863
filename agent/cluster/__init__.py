"""Who else is in the cluster, which of them gets a copy, and who this node is."""
