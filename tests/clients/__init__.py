"""What other people upload and download with, against a real node: docs/clients.md has the table.

The clients themselves are run by `make clients`; what they send over the wire by `make test`.
"""
