"""One module per component of a node, each with one `@deploy`; facts and operations beside them."""
