"""The upload client as a library: what `portside put` does, for use from any Python program.

client = UploadClient("https://s01.example.net")
stored = client.put(Path("debian.iso"), token)
print(stored.url)
"""

from portside.client.errors import (
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadError,
)
from portside.client.session import Wish, claims_for
from portside.client.upload import UploadClient

__all__ = [
    "LocalFileError",
    "NodeUnavailable",
    "ReceiptRefused",
    "Refused",
    "UploadClient",
    "UploadError",
    "Wish",
    "claims_for",
]
