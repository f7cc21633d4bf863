"""How a node leaves: what only it has, letting it go for good, taking Portside off its machine."""
