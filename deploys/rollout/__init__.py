"""Changes that come to nodes one after the other, each proven before the next."""
