"""What is done to nodes: entry points for pyinfra, and the components they are made of."""
