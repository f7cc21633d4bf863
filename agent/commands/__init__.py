"""The verbs of `portside-agent`, which the deploy, systemd and operators run on a node."""
