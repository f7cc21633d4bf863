"""The control plane backed up on another machine, and brought back from there."""
