"""Prometheus beside the cluster: what the cluster file says of it, and what there is to scrape."""
