"""Commands and webhooks that are run after a commit."""
