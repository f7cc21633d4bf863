"""Upload sessions: refused early, or placed, promised and handed out with a token."""
