"""What a node tells of the files it holds: descriptions, searches, verifications.

Times are UTC (RFC 3339), sizes are bytes, durations seconds.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

from pydantic import AwareDatetime, Field

from portside.wire.base import Message, Request
from portside.wire.fields import AppId, FileId, MediaRange, Namespace, Owner, Sha256
from portside.wire.spellings import AnyMoment


class HoldNote(Message):
    """Why a file is not served, who said so, and when."""

    reason: str = Field(default="", max_length=200)
    by: str = Field(max_length=128)
    at: AwareDatetime


class StoredFile(Message):
    """A committed file: the body of a 201, and of `GET /api/v1/files/<id>`."""

    file_id: FileId
    node_id: str
    namespace: str
    owner: str
    name: str
    path: PurePosixPath
    url: str
    """The one that lasts: it finds the file wherever it is."""
    size: int
    sha256: Sha256
    content_type: str
    committed_at: datetime
    receipt: str
    app: AppId | None = None
    """The app whose session it was uploaded in; None when another issuer minted the token."""
    held: bool = False
    """Served to nobody until it is released: it is being checked, or was taken down."""
    hold: HoldNote | None = None
    """Of the last time that it was held or released by request."""
    direct_url: str = Field(default_factory=lambda told: told["url"])
    """This node's copy, for as long as that is here. An older node tells it as `url` alone."""


def surrogate_key(file_id: str, namespace: str) -> str:
    """What a CDN's purge names a file's answers by: itself, and all of its namespace."""
    return f"{file_id} {namespace}"


class Copy(Message):
    """Another node's copy of a file, of which this node has that node's signed word."""

    node_id: str
    receipt: str
    confirmed_at: AwareDatetime
    """When the receipt came in."""


class FileWithCopies(StoredFile):
    """A stored file and the copies that its node has made elsewhere, the oldest first."""

    copies: tuple[Copy, ...] = ()


class FileQuery(Request):
    """What `GET /api/v1/files` looks for: the parameters of its query, all of which must apply."""

    namespace: Namespace | None = Field(
        default=None, description="A namespace: lower-case letters, digits, '-' and '_'."
    )
    owner: Owner | None = Field(
        default=None, description="Whose they are: 1 to 128 characters of any script."
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
        description="Any part of the file's name; letters of ASCII in either case.",
    )
    content_type: MediaRange | None = Field(
        default=None,
        description="A media type, or every one of a kind as `image/*`.",
    )
    committed_after: AnyMoment | None = Field(
        default=None, description="Later than this moment (RFC 3339)."
    )
    committed_before: AnyMoment | None = Field(
        default=None, description="Earlier than this moment (RFC 3339)."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="The most files of a page.")
    cursor: str | None = Field(
        default=None, max_length=200, description="The `next` of the page before."
    )


class HoldRequest(Request):
    """The body of `POST /api/v1/files/<id>/hold` and `.../release`, which may be empty."""

    reason: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f]{0,200}$",
        description="Why, for people: one line of up to 200 characters. Kept with the file.",
    )


class FilePage(Message):
    """Files, newest first. `next` is the cursor of the page behind this one, None on the last."""

    files: tuple[StoredFile, ...]
    next: str | None = None


class Verification(Message):
    """What reading a file again found: its SHA-256 now and the one it was stored with.

    `sha256` is None when the file can't be read to its end. A file that is not intact is taken out
    of service.
    """

    file_id: FileId
    sha256: Sha256 | None
    expected: Sha256
    intact: bool
    bytes: int = Field(ge=0)
    seconds: float = Field(ge=0)
    verified_at: datetime
