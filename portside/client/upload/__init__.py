"""Uploading a file: at a stretch, resumed, in parts, to the node that the control plane names."""
