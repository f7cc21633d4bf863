"""What the processes of one node share of the ledger, while one of them finishes its uploads."""
