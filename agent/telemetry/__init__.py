"""What is seen of the node from outside: metrics, log lines, health, the report of the worker."""
