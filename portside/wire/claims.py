"""What each kind of token says: the claims that `portside.tokens` signs and verifies.

The same models are used by who signs and who verifies, so that a claim is named and checked in one
place. Times are UTC: those of the token itself as Unix seconds (RFC 7519), others as RFC 3339.
Sizes are bytes. What a webhook's signature says is in `portside.wire.hooks`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from portside.wire.base import Message
from portside.wire.bounds import (
    LARGEST_FILE,
    MOST_COPIES,
    Amount,
    Label,
    Moment,
    Name,
    SaidPath,
    StoredPath,
    UnixTime,
)
from portside.wire.fields import (
    JTI_PATTERN,
    AppId,
    ExpiresAt,
    ExpiresIn,
    FileId,
    Layout,
    MediaType,
    Namespace,
    Owner,
    Sha256,
    TokenId,
)

Party = Annotated[Label, Field(min_length=1)]
"""Who signs, or for whom: an issuer's name, a node's id."""

FileName = Annotated[Name, Field(min_length=1)]


class Quota(Message):
    """The most that an owner may have on one node, open uploads included: bytes, files, or both.

    What else stands in it is an error, as an empty one is: a limit that a node doesn't know, or
    that is misspelt, must not be passed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Amount | None = None
    files: Amount | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Quota:
        if self.bytes is None and self.files is None:
            raise ValueError("'bytes' or 'files' is needed, or both")
        return self


class UploadClaims(Message):
    """What an `upload+jwt` allows: one file, of this size, by this owner, on this node.

    `exp` gates starting and `session_deadline` gates resuming; a body in flight is never cut.
    """

    iss: Party
    aud: Party
    sub: Owner
    jti: TokenId
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    session_deadline: UnixTime
    file_id: FileId
    namespace: Namespace
    name: FileName | None = None
    layout: Layout = "dated"
    size: Amount | None = None
    max_size: Amount | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    content_type: MediaType | None = None
    replicas: tuple[Label, ...] = Field(default=(), max_length=MOST_COPIES, fail_fast=True)
    ack: Literal["local", "replicated"] = "local"
    app: AppId | None = None
    """The app whose session it was: kept with the file, so that a catalogue can be rebuilt."""
    expires_in: ExpiresIn | None = None
    """Seconds from the commit after which the file ends by itself."""
    hold: bool = False
    """Stored, but served to nobody until it is released; so may a namespace's settings say."""
    quota: Quota | None = None
    """The most that `sub` may have on the node, this file included; None is no bound."""

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


def _as_an_id(value: object) -> object:
    """A `jti` that is of ours; any other means nothing here, as before it was read."""
    return value if isinstance(value, str) and re.fullmatch(JTI_PATTERN, value) else None


Jti = Annotated[TokenId | None, BeforeValidator(_as_an_id)]
"""By which a token can be revoked whoever has it; without one there is what it says
(`portside.tokens.token_id`)."""

Right = Literal["list", "read", "verify", "delete", "hold"]


class DownloadClaims(Message):
    """What a `download+jwt` allows: reading one path on one node until `exp`."""

    iss: Party
    aud: Party
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    path: Name = Field(min_length=1)
    jti: Jti = None


class AccessClaims(Message):
    """What an `access+jwt` allows with files that are stored: by an app, not by an uploader.

    Without `namespace` every one, without `owner` everybody's, without `file_id` every file.
    """

    iss: Party
    aud: Party
    sub: Owner
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    rights: tuple[Right, ...] = Field(min_length=1, max_length=16, fail_fast=True)
    namespace: Namespace | None = None
    owner: Owner | None = None
    file_id: FileId | None = None
    jti: Jti = None


class ReplicateClaims(Message):
    """What a `replicate+jwt` says: the node `iss` sends node `aud` a copy of this very file.

    `path` is where the copy lies, on every node the same. `jti` is that of the upload the file came
    with, not the token's own: a push that is sent again is the same push.
    """

    iss: Party
    aud: Party
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    jti: TokenId
    file_id: FileId
    path: SaidPath
    size: Amount = Field(lt=LARGEST_FILE)
    sha256: Sha256
    namespace: Namespace
    owner: Owner
    name: FileName
    content_type: MediaType
    committed_at: Moment
    app: AppId | None = None
    expires_at: ExpiresAt | None = None
    """When the file ends by itself: on every node the same."""
    held: bool | None = None
    """Whether the sender serves it. None from an older node: then the namespace decides."""
    scan: bool = False
    """Whether a scanner holds it, and nobody else: the copy's node looks for itself. An older node
    says nothing: then its copy stays held."""


class CopyOrderClaims(Message):
    """What an `order+jwt` says: the control plane has node `sub` bring node `aud` this very file.

    What the control plane doesn't know of a file it doesn't say: None. One of a release before says
    nothing of `held` either, and then `expires_at` isn't its word.
    """

    iss: Party
    aud: Party
    sub: Party
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    file_id: FileId
    path: SaidPath
    size: Amount
    sha256: Sha256
    namespace: Namespace
    owner: Owner | None = None
    name: FileName
    content_type: MediaType | None = None
    app: AppId | None = None
    held: bool | None = None
    """Whether the copy is to be held."""
    scan: bool = False
    """Whether a scanner alone holds the file: the copy's node looks for itself."""
    expires_at: ExpiresAt | None = None
    """When the copy is to end by itself; with `held` said, None is: it stays."""


class AdoptionClaims(Message):
    """What an `adoption+jwt` allows: node `aud` may make files that lie on it already stored ones
    of `owner`, in this namespace, from `nbf` until `exp`.

    Which files is not said: an operator on the node chooses. So it is for a namespace, and ends.
    """

    iss: Party
    aud: Party
    jti: TokenId
    iat: UnixTime
    nbf: UnixTime
    exp: UnixTime
    namespace: Namespace
    owner: Owner
    app: AppId | None = None
    """Whose files they are to be in the catalogue, as those of its sessions."""
    quota: Quota | None = None
    """The most that `owner` may have on the node, the adopted files included."""


class HeartbeatClaims(Message):
    """What a `heartbeat+jwt` attests to: this node sent this very body to the control plane."""

    iss: Party
    aud: Party
    iat: UnixTime
    jti: TokenId
    sha256: Sha256


class ReceiptClaims(Message):
    """A node's signed word that a file is on its disk: what a `receipt+jwt` says."""

    iss: Party
    aud: Party
    iat: UnixTime
    jti: TokenId
    file_id: FileId
    path: StoredPath
    size: Amount = Field(lt=LARGEST_FILE)
    sha256: Sha256
    committed_at: Moment
    copies: tuple[Label, ...] = Field(max_length=MOST_COPIES, fail_fast=True)
    expires_at: ExpiresAt | None = None
    """When the copy ends by itself, as the node has it."""
    held: bool = False
    """Whether it was held when this was signed."""
