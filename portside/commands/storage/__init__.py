"""Nodes, pools and the moves between them, as the control plane knows them and is told."""
