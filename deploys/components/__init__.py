"""One module per component of a node, each with one `@deploy`: what it installs and keeps up."""
