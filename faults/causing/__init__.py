"""What crashes are made of: stores and their disks, clients that load them, what goes wrong."""
