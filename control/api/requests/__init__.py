"""What every resource does with a request: who asks, what is sent, how it is told."""
