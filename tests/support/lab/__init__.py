"""How the lab's tests deploy to its nodes and talk to them."""
