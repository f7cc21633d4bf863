"""Files as apps see them, and the receipts that prove them."""
