"""What each kind of token says: the claims that `portside.tokens` signs and verifies.

The same models are used by who signs and who verifies, so that a claim is named and checked in one
place. Times are UTC: those of the token itself as Unix seconds (RFC 7519), others as RFC 3339.
Sizes are bytes. What a webhook's signature says is in `portside.wire.hooks`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from portside.wire.base import Message
from portside.wire.fields import AppId, FileId, Layout, MediaType, Namespace, Owner, Sha256, TokenId


class UploadClaims(Message):
    """What an `upload+jwt` allows: one file, of this size, by this owner, on this node.

    `exp` gates starting and `session_deadline` gates resuming; a body in flight is never cut.
    """

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    sub: Owner
    jti: TokenId
    iat: int
    nbf: int
    exp: int
    session_deadline: int
    file_id: FileId
    namespace: Namespace
    name: str | None = Field(default=None, min_length=1, max_length=1024)
    layout: Layout = "dated"
    size: int | None = Field(default=None, ge=0)
    max_size: int | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    content_type: MediaType | None = None
    replicas: tuple[str, ...] = ()
    ack: Literal["local", "replicated"] = "local"
    app: AppId | None = None
    """The app whose session it was: kept with the file, so that a catalogue can be rebuilt."""
    hold: bool = False
    """Stored, but served to nobody until it is released; so may a namespace's settings say."""

    @model_validator(mode="after")
    def _bounded(self) -> UploadClaims:
        if (self.size is None) == (self.max_size is None):
            raise ValueError("exactly one of 'size' and 'max_size' is needed")
        return self

    @property
    def size_limit(self) -> int:
        """The most bytes the body may have."""
        limit = self.max_size if self.size is None else self.size
        assert limit is not None  # noqa: S101 (held by _bounded)
        return limit


Right = Literal["list", "read", "verify", "delete", "hold"]


class DownloadClaims(Message):
    """What a `download+jwt` allows: reading one path on one node until `exp`."""

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    iat: int
    nbf: int
    exp: int
    path: str = Field(min_length=1, max_length=1024)


class AccessClaims(Message):
    """What an `access+jwt` allows with files that are stored: by an app, not by an uploader.

    Without `namespace` every one, without `owner` everybody's, without `file_id` every file.
    """

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    sub: Owner
    iat: int
    nbf: int
    exp: int
    rights: tuple[Right, ...] = Field(min_length=1)
    namespace: Namespace | None = None
    owner: Owner | None = None
    file_id: FileId | None = None


class ReplicateClaims(Message):
    """What a `replicate+jwt` says: the node `iss` sends node `aud` a copy of this very file.

    `path` is where the copy lies, on every node the same. `jti` is that of the upload the file came
    with, not the token's own: a push that is sent again is the same push.
    """

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    iat: int
    nbf: int
    exp: int
    jti: TokenId
    file_id: FileId
    path: PurePosixPath
    size: int = Field(ge=0, lt=2**62)
    sha256: Sha256
    namespace: Namespace
    owner: Owner
    name: str = Field(min_length=1, max_length=1024)
    content_type: MediaType
    committed_at: AwareDatetime
    app: AppId | None = None
    held: bool | None = None
    """Whether the sender serves it. None from an older node: then the namespace decides."""


class HeartbeatClaims(Message):
    """What a `heartbeat+jwt` attests to: this node sent this very body to the control plane."""

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    iat: int
    jti: TokenId
    sha256: Sha256


class ReceiptClaims(Message):
    """A node's signed word that a file is on its disk: what a `receipt+jwt` says."""

    iss: str
    aud: str
    iat: int
    jti: str
    file_id: FileId
    path: PurePosixPath
    size: int = Field(ge=0)
    sha256: Sha256
    committed_at: datetime
    copies: tuple[str, ...]
    held: bool = False
    """Whether it was held when this was signed."""
