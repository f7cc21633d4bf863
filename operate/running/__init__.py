"""What runs on nodes, changed: settings read again, services started anew, releases, keys."""
