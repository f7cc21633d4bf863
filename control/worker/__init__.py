"""The worker: a service of its own that goes rounds."""
