"""How fast a node is brought up, and how fast a run is that changes nothing, beside Ansible."""
