"""The keys that open the cold tier's bucket."""

from __future__ import annotations

import configparser
import stat
from dataclasses import dataclass, field
from pathlib import Path


class CredentialsError(Exception):
    """Credentials that are missing or can't be used; the message says what to do."""


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
