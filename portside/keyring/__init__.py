"""Keys that services read from files and follow while they run: a rotation needs no restart."""
