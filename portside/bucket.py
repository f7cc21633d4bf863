"""The bucket that files are backed up to: what the cluster file and a node's settings both say of
it, so that nothing passes in one and not in the other.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from portside.wire.fields import Namespace, Region


class Bucket(BaseModel):
    """A bucket of an S3-compatible service, and which namespaces go there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")
    """Scheme, host and port; without it, Amazon's own for the region."""
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", max_length=256, pattern=r"^([A-Za-z0-9_=-][A-Za-z0-9_.=-]*/)*$")
    """What every key begins with: empty, or folders that end in a slash and begin with no dot."""
    region: Region = "us-east-1"
    namespaces: tuple[Namespace, ...] = ()
    """Namespaces that are backed up; empty means every one."""
