"""What travels between clients, nodes and the control plane: each message checked on arrival."""
