"""What is wrong, told to a webhook or a mailbox without a Prometheus (docs/alerts.md)."""
