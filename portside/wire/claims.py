"""What travels between client, node and issuer: token claims, answers and problems.

The same models are used by who sends and who receives, so that a field is named and checked in one
place. Times are UTC, as Unix seconds in tokens (RFC 7519) and RFC 3339 in JSON; sizes are bytes.
"""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from portside.digest import SHA256_HEX
from portside.names import NAMESPACE_PATTERN

FILE_ID_PATTERN = r"^[0-9a-f]{32}$"

_TYPE = "[A-Za-z0-9_.+-]{1,63}"
"""Half of a media type (RFC 6838, section 4.2). Not `\\w`: every script's letters, 63 times over,
take 12 MiB of every process."""

FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
TokenId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{8,128}$")]
Sha256 = Annotated[str, Field(pattern=SHA256_HEX)]
Layout = Literal["dated", "named"]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class UploadClaims(_Message):
    """What an `upload+jwt` allows: one file, of this size, by this owner, on this node.

    `exp` gates starting and `session_deadline` gates resuming; a body in flight is never cut.
    """

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    sub: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    jti: TokenId
    iat: int
    nbf: int
    exp: int
    session_deadline: int
    file_id: FileId
    namespace: str = Field(pattern=NAMESPACE_PATTERN)
    name: str | None = Field(default=None, min_length=1, max_length=1024)
    layout: Layout = "dated"
    size: int | None = Field(default=None, ge=0)
    max_size: int | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    content_type: str | None = Field(default=None, pattern=f"^{_TYPE}/{_TYPE}$")
    replicas: tuple[str, ...] = ()
    ack: Literal["local", "replicated"] = "local"

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


Right = Literal["list", "read", "verify", "delete"]


class DownloadClaims(_Message):
    """What a `download+jwt` allows: reading one path on one node until `exp`."""

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    iat: int
    nbf: int
    exp: int
    path: str = Field(min_length=1, max_length=1024)


class AccessClaims(_Message):
    """What an `access+jwt` allows with files that are stored: by an app, not by an uploader.

    Without `namespace` every one, without `owner` everybody's, without `file_id` every file.
    """

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    sub: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    iat: int
    nbf: int
    exp: int
    rights: tuple[Right, ...] = Field(min_length=1)
    namespace: str | None = Field(default=None, pattern=NAMESPACE_PATTERN)
    owner: str | None = Field(default=None, pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    file_id: FileId | None = None


class Hook(_Message):
    """What happens after a commit in a namespace (`*` is every one): a command or a webhook."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,63})$")
    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    url: str | None = Field(default=None, pattern=r"^https?://[!-~]+$", max_length=1024)

    @field_validator("url")
    @classmethod
    def _can_be_asked(cls, value: str | None) -> str | None:
        if value is not None:
            origin_of(value)
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Hook:
        if (self.command is None) == (self.url is None):
            raise ValueError("a hook is either a 'command' or a 'url'")
        return self

    @property
    def target(self) -> str:
        """What tells this hook from the others: the URL, or the command as one line of shell."""
        return self.url if self.url is not None else shlex.join(self.command or ())


def origin_of(url: str) -> str:
    """Scheme, host and port of a webhook's URL, the port only where it isn't the scheme's own.

    Raises ValueError when there is no host in it or a user: deliveries are signed instead.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("a webhook's URL has a host, and neither user nor password")
    if parts.fragment:
        raise ValueError("a webhook's URL has no fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, own) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


class HookClaims(_Message):
    """What a `hook+jwt` attests to: this node sent this very body to this origin, just now."""

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=1024)
    iat: int
    jti: TokenId
    sha256: Sha256


class ReplicateClaims(_Message):
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
    namespace: str = Field(pattern=NAMESPACE_PATTERN)
    owner: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    name: str = Field(min_length=1, max_length=1024)
    content_type: str = Field(pattern=f"^{_TYPE}/{_TYPE}$")
    committed_at: AwareDatetime


class HeartbeatClaims(_Message):
    """What a `heartbeat+jwt` attests to: this node sent this very body to the control plane."""

    iss: str = Field(min_length=1, max_length=64)
    aud: str = Field(min_length=1, max_length=64)
    iat: int
    jti: TokenId
    sha256: Sha256


class ReceiptClaims(_Message):
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


class StoredFile(_Message):
    """A committed file: the body of a 201, and of `GET /api/v1/files/<id>`."""

    file_id: FileId
    node_id: str
    namespace: str
    owner: str
    name: str
    path: PurePosixPath
    url: str
    size: int
    sha256: Sha256
    content_type: str
    committed_at: datetime
    receipt: str


class Copy(_Message):
    """Another node's copy of a file, of which this node has that node's signed word."""

    node_id: str
    receipt: str
    confirmed_at: AwareDatetime
    """When the receipt came in."""


class FileWithCopies(StoredFile):
    """A stored file and the copies that its node has made elsewhere, the oldest first."""

    copies: tuple[Copy, ...] = ()


class FileQuery(BaseModel):
    """What `GET /api/v1/files` looks for: the parameters of its query, all of which must apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str | None = Field(default=None, pattern=NAMESPACE_PATTERN)
    owner: str | None = Field(default=None, pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    name: str | None = Field(
        default=None,
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
        description="Any part of the file's name; letters of ASCII in either case.",
    )
    content_type: str | None = Field(
        default=None,
        pattern=rf"^{_TYPE}/({_TYPE}|\*)$",
        description="A media type, or every one of a kind as `image/*`.",
    )
    committed_after: AwareDatetime | None = Field(
        default=None, description="Later than this moment (RFC 3339)."
    )
    committed_before: AwareDatetime | None = Field(
        default=None, description="Earlier than this moment (RFC 3339)."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="The most files of a page.")
    cursor: str | None = Field(
        default=None, max_length=200, description="The `next` of the page before."
    )


class FilePage(_Message):
    """Files, newest first. `next` is the cursor of the page behind this one, None on the last."""

    files: tuple[StoredFile, ...]
    next: str | None = None


class Verification(_Message):
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


class HookEvent(_Message):
    """The body of a webhook. A delivery may come more than once, its attempts counted from 1."""

    event: Literal["file.committed"] = "file.committed"
    delivery_id: str
    node_id: str
    attempt: int
    file: StoredFile


class Problem(_Message):
    """An error as `application/problem+json` (RFC 9457); `type` is for programs to switch on.

    `request_id` is what the node's log has about a request that failed through no fault of its
    sender.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None

    # Some problems have members of their own (RFC 9457, section 3.2): `expected-offset`.
    model_config = ConfigDict(frozen=True, extra="allow")


PROBLEM_PREFIX = "urn:portside:problem:"
"""What every problem type starts with; the rest is a short name such as `name-taken`."""


class SlotStatus(_Message):
    """Uploads running and how many may run at once."""

    used: int
    limit: int


class MemoryStatus(_Message):
    """Bytes: held by uploads, their bound, and what the node has free and in all."""

    reserved: int
    limit: int
    available: int
    total: int
    agent_rss: int


class DiskStatus(_Message):
    """Bytes on the data filesystem; `reserved` is promised to running uploads, not yet written."""

    free: int
    total: int
    reserved: int
    kept_free: int


class UploadStatus(_Message):
    """`GET /api/v1/system/upload-status`: the very numbers that admission decides by."""

    node_id: str
    version: str
    accepting: bool
    reasons: tuple[str, ...]
    slots: SlotStatus
    memory: MemoryStatus
    disk: DiskStatus
    committed: int
    failures: dict[str, int]


class Readiness(_Message):
    """`GET /health/ready`: `reasons` speak against uploads, `warnings` are for an operator."""

    ready: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
