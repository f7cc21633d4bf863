"""What a node tells of the files it holds: descriptions, searches, verifications.

Times are UTC (RFC 3339), sizes are bytes, durations seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from portside.wire.base import Message, Request
from portside.wire.bounds import (
    MOST_COPIES,
    MOST_LISTED,
    Amount,
    Label,
    Measured,
    Moment,
    Name,
    StoredPath,
    Text,
    Token,
    number,
)
from portside.wire.fields import (
    LATEST,
    AppId,
    ExpiresAt,
    FileId,
    MediaRange,
    Namespace,
    Owner,
    Sha256,
)
from portside.wire.spellings import AnyMoment, AnyTimeFromNow

Scan = Literal["waiting", "clean", "infected", "unscannable"]
"""How far a virus scanner is with a file; `unscannable` is larger or deeper than it can look."""

SCANNER = "clamav"
"""Who says so in a note."""


class HoldNote(Message):
    """Why a file is not served or is again, who said so, and when."""

    reason: Annotated[Name, Field(max_length=200)] = ""
    """The scanner's is what it has found."""
    by: Annotated[Name, Field(max_length=128)]
    at: Moment
    scan: Scan | None = None
    """None where a person or an app has said it: what they say no scanner takes back."""


class StoredFile(Message):
    """A committed file: the body of a 201, and of `GET /api/v1/files/<id>`."""

    file_id: FileId
    node_id: Label
    namespace: Label
    owner: Name
    name: Name
    path: StoredPath
    url: Text
    """The one that lasts: it finds the file wherever it is."""
    size: Amount
    sha256: Sha256
    content_type: Name
    committed_at: Moment
    receipt: Token
    app: AppId | None = None
    """The app whose session it was uploaded in; None when another issuer minted the token."""
    held: bool = False
    """Served to nobody until it is released: it is being checked, or was taken down."""
    hold: HoldNote | None = None
    """Of the last time that it was held or released by request."""
    direct_url: Text = Field(default_factory=lambda told: told["url"])
    """This node's copy, for as long as that is here. An older node tells it as `url` alone."""
    expires_at: ExpiresAt | None = None
    """When the file ends by itself, Unix seconds; None if it doesn't."""


def surrogate_key(file_id: str, namespace: str) -> str:
    """What a CDN's purge names a file's answers by: itself, and all of its namespace."""
    return f"{file_id} {namespace}"


class Copy(Message):
    """Another node's copy of a file, of which this node has that node's signed word."""

    node_id: Label
    receipt: Token
    confirmed_at: Moment
    """When the receipt came in."""


class FileWithCopies(StoredFile):
    """A stored file and the copies that its node has made elsewhere, the oldest first."""

    copies: tuple[Copy, ...] = Field(default=(), max_length=MOST_COPIES, fail_fast=True)


class FileQuery(Request):
    """What `GET /api/v1/files` looks for: the parameters of its query, all of which must apply."""

    namespace: Namespace | None = Field(
        default=None, description="A namespace: lower-case letters, digits, '-' and '_'."
    )
    owner: Owner | None = Field(
        default=None, description="Whose they are: 1 to 128 characters of any script."
    )
    name: Text | None = Field(
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
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(number)] = Field(
        default=100, description="The most files of a page."
    )
    cursor: Annotated[Name, Field(max_length=200)] | None = Field(
        default=None, description="The `next` of the page before."
    )


class HoldRequest(Request):
    """The body of `POST /api/v1/files/<id>/hold` and `.../release`, which may be empty."""

    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,200}$")] | None = Field(
        default=None,
        description="Why, for people: one line of up to 200 characters. Kept with the file.",
    )


class FilePage(Message):
    """Files, newest first. `next` is the cursor of the page behind this one, None on the last."""

    files: tuple[StoredFile, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    next: Name | None = None


class UsageQuery(Request):
    """Whose usage `GET /api/v1/usage` tells: the parameters of its query."""

    owner: Owner | None = Field(
        default=None,
        description="Whose, where the token is for everybody's files: 1 to 128 characters of any "
        "script.",
    )


class FilesAndBytes(Message):
    """So many files, with so many bytes."""

    files: Amount = 0
    bytes: Amount = 0


class Allowance(Message):
    """What there may be, what there is, and what is left of it; never below zero."""

    limit: Amount
    used: Amount
    left: Amount


class QuotaUse(Message):
    """How far a quota is used; None for what it doesn't limit."""

    bytes: Allowance | None = None
    files: Allowance | None = None


class OwnerUsage(Message):
    """What an owner has on a node: `files` and `bytes`, which are what a quota limits, and of
    which kind they are.

    `uploading` is what open uploads may come to; `ended` and `quarantined` are out of service, but
    their bytes are kept. Another node's copy counts as any other file.
    """

    node_id: Label
    owner: Name
    files: Amount
    bytes: Amount
    stored: FilesAndBytes
    uploading: FilesAndBytes
    ended: FilesAndBytes
    quarantined: FilesAndBytes
    quota: QuotaUse | None = None
    """The one in the upload token that asked."""


class Verification(Message):
    """What reading a file again found: its SHA-256 now and the one it was stored with.

    `sha256` is None when the file can't be read to its end. A file that is not intact is taken out
    of service.
    """

    file_id: FileId
    sha256: Sha256 | None
    expected: Sha256
    intact: bool
    bytes: Amount
    seconds: Measured
    verified_at: Moment


class LifetimeChange(Request):
    """When a file is to end from now on: `PATCH /api/v1/files/<id>`. Exactly one of the two.

    A moment that lies behind ends it now. One that ended is taken back as long as its bytes are
    kept.
    """

    expires_in: AnyTimeFromNow | None = Field(
        default=None,
        description="Seconds from now, also as `30d`; 0: it ends now.",
    )
    expires_at: AnyMoment | None = Field(
        default=None,
        description="The moment (RFC 3339, or Unix seconds); null: it doesn't end by itself.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_of_both(cls, data: Any) -> Any:
        if isinstance(data, dict):
            named = {cls._field_of(key) for key in data} & {"expires_in", "expires_at"}
            if len(named) != 1:
                raise ValueError(
                    "give 'expires_in' (seconds from now, or as 30d) or 'expires_at' (a moment, "
                    "or null for a file that is to stay), and only one of them"
                )
        return data

    @model_validator(mode="after")
    def _said(self) -> Self:
        if "expires_in" in self.model_fields_set and self.expires_in is None:
            raise ValueError("expires_in: a number of seconds; 'expires_at': null lets it stay")
        if self.expires_at is not None and not 0 <= self.expires_at.timestamp() <= LATEST:
            raise ValueError("expires_at: a moment between the years 1970 and 2242")
        return self

    def moment(self, now: datetime) -> int | None:
        """When the file ends, Unix seconds; None if it isn't to."""
        if self.expires_in is not None:
            return int(now.timestamp()) + self.expires_in
        return None if self.expires_at is None else int(self.expires_at.timestamp())
