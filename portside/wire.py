"""What travels between client, node and issuer: token claims, answers and problems.

The same models are used by who sends and who receives, so that a field is named and checked in one
place. Times are UTC, as Unix seconds in tokens (RFC 7519) and RFC 3339 in JSON; sizes are bytes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from portside.digest import SHA256_HEX
from portside.names import NAMESPACE_PATTERN

FILE_ID_PATTERN = r"^[0-9a-f]{32}$"

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
    content_type: str | None = Field(default=None, pattern=r"^[\w.+-]{1,63}/[\w.+-]{1,63}$")
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


class Problem(_Message):
    """An error as `application/problem+json` (RFC 9457); `type` is for programs to switch on."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None


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
