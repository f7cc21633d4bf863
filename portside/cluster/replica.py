"""Where the control plane's SQLite database is copied to while it is written: `control.replica`.

A copy on the disk that is lost is no copy, so the place is another disk of the control node,
another machine by SFTP, or a bucket. Secrets are no part of the cluster file: they lie in its
keystore.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from portside.bucket import Bucket
from portside.quantities import Duration

_HOST_KEY = re.compile(r"^(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/]+={0,2}$")


def _plain(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts or re.search(r"[^\w./-]", str(path)):
        raise ValueError("must be an absolute path of letters, digits, '.', '_', '-', without '..'")
    if len(path.parts) < 2:
        raise ValueError("must be a folder of its own")
    if path.parts[1] in ("home", "root", "tmp", "run"):
        raise ValueError(f"must not lie below /{path.parts[1]}, which services don't see")
    return path


_Folder = Annotated[PurePosixPath, AfterValidator(_plain)]


class Sftp(BaseModel):
    """A folder on another machine. The private key is `secrets/<cluster>/replica.key`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    path: _Folder
    host_key: str
    """The machine's public key: without it whoever answers there would get the whole catalogue."""

    @field_validator("host_key", mode="after")
    @classmethod
    def _known(cls, host_key: str) -> str:
        # A comment behind it, as in known_hosts and *.pub files, says nothing.
        key = " ".join(host_key.split()[:2])
        if not _HOST_KEY.fullmatch(key):
            raise ValueError(
                "must be a public key as `ssh-keyscan -t ed25519 <host>` shows it behind the "
                "host's name: ssh-ed25519 AAAA..."
            )
        return key


class Replica(BaseModel):
    """One place, and how far back the database can be had as it was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: _Folder | None = None
    sftp: Sftp | None = None
    bucket: Bucket | None = None
    keep: Duration = Field(default=86400, ge=3600, le=90 * 86400)

    @model_validator(mode="after")
    def _one_place(self) -> Replica:
        places = [name for name in ("path", "sftp", "bucket") if getattr(self, name) is not None]
        if len(places) != 1:
            raise ValueError(f"needs exactly one of path, sftp and bucket, has {len(places)}")
        if self.bucket is not None and self.bucket.namespaces:
            raise ValueError("bucket.namespaces is of the cold tier: leave it out here")
        return self

    @property
    def snapshot_every(self) -> int:
        """Seconds between two whole copies: a restore reads the newest one and what came since."""
        return min(6 * 3600, int(self.keep))
