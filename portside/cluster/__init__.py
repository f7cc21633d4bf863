"""The cluster file, the roles that names tell, and the roster of who belongs to a cluster."""
