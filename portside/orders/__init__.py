"""What proves to other machines that an issuer wanted a file copied, adopted or deleted."""
