"""Control planes as they run, on SQLite and PostgreSQL, and whole clusters of them."""
