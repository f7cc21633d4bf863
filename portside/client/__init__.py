"""The upload client as a library: what `portside put` does, for use from any Python program.

client = UploadClient("https://s01.example.net")
stored = client.put(Path("notes.txt"), token)
stored = put_resumable(client, Path("debian.iso"), token, parallel=4)
print(stored.url)

with Stream(Path("-")) as stream:
    stored = StreamUpload(stream, "backup.tar", Watcher()).put(client, token)
"""

from portside.client.http.errors import (
    AlreadyRunning,
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadError,
    UploadGone,
)
from portside.client.upload.claims import Wish, claims_for
from portside.client.upload.resume import put_resumable
from portside.client.upload.single import UploadClient
from portside.client.upload.stream import Stream
from portside.client.upload.streamed import StreamUpload
from portside.client.watcher import Watcher

__all__ = [
    "AlreadyRunning",
    "LocalFileError",
    "NodeUnavailable",
    "ReceiptRefused",
    "Refused",
    "Stream",
    "StreamUpload",
    "UploadClient",
    "UploadError",
    "UploadGone",
    "Watcher",
    "Wish",
    "claims_for",
    "put_resumable",
]
