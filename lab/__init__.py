"""A cluster of real Debian machines on this computer, for trying and testing the whole system."""
