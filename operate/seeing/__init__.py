"""Looking at nodes and cluster: how they are, what is wrong, what they said."""
