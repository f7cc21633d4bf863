"""What is still to be delivered of committed files: events, and the rows that wait."""
