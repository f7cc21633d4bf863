"""What the operator's machine keeps and reaches: secrets, certificates, nodes over SSH."""
