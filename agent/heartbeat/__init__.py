"""What the control plane is told, and what it tells."""
