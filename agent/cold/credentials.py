"""The cold tier's part of the settings, and the keys that open its bucket."""

from __future__ import annotations

import configparser
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

_AWS = "https://s3.amazonaws.com"


class CredentialsError(Exception):
    """Credentials that are missing or can't be used; the message says what to do."""


class Cold(BaseModel):
    """Where committed files are backed up to: a bucket of an S3-compatible service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")
    """Scheme, host and port; without it, Amazon's own for the region."""
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", max_length=256, pattern=r"^([A-Za-z0-9_.=-]+/)*$")
    """What every key begins with: empty, or folders that end in a slash."""
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,32}$")
    credentials_file: Path
    rate: int = Field(gt=0)
    """Bytes per second that are sent."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that are backed up; empty means every one."""
    keep_deleted: int | None = Field(default=None, ge=0)
    """Seconds that a deleted file's object is kept: 0 not at all, without it for good."""

    @field_validator("prefix", mode="after")
    @classmethod
    def _no_dots(cls, prefix: str) -> str:
        if any(part in (".", "..") for part in prefix.split("/")):
            raise ValueError("a prefix has no folders named '.' or '..'")
        return prefix

    @property
    def target(self) -> str:
        """The tier's address: that of each object begins with it."""
        return f"{self.endpoint or _AWS}/{self.bucket}/{self.prefix}"

    def takes(self, namespace: str) -> bool:
        """Whether files of this namespace are backed up."""
        return not self.namespaces or namespace in self.namespaces

    def address(self, key: str) -> str:
        """The address of the object with this key."""
        return self.target.removesuffix(self.prefix) + key

    def key(self, address: str) -> str | None:
        """The key of an object by its address; None for one of another bucket or prefix."""
        if not address.startswith(self.target):
            return None
        return self.prefix + address.removeprefix(self.target)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key of the service."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """Read a file in the format of AWS's own `credentials`, section `default`.

        Raises CredentialsError, also when others can read the file.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise CredentialsError(f"{path} can't be read: {error.strerror}") from None
        if mode & 0o077:
            raise CredentialsError(
                f"{path} has mode {mode:04o}: others could read the secret key: chmod 600 it"
            )
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Credentials:
        """Read such a file's text. Raises CredentialsError; `source` is the name in its message."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(text)
            section = parser["default"]
            return cls(section["aws_access_key_id"], section["aws_secret_access_key"])
        except (configparser.Error, KeyError):
            # Not the parser's own words: they quote the file.
            raise CredentialsError(
                f"{source} needs a section [default] with aws_access_key_id and "
                "aws_secret_access_key"
            ) from None
