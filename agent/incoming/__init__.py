"""What a request is and says, before anything is decided: its head, body, form, names, digests."""
