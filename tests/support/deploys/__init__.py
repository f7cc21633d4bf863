"""Hosts that pyinfra fakes."""
