"""Where a backup is put: a folder, another machine by SFTP, a bucket.

It appears there under its name once it is whole: written under another one, read back or confirmed
by its digest, renamed. A bucket shows an object only when it is whole. What fails leaves the older
ones as they are, and raises PlaceError with a line for people.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from portside import durable_file
from portside.backup.archive import SUFFIX
from portside.bucket import Bucket

_PARTIAL = ".partial-"
_PATIENCE = 3600.0
"""Seconds for one file: some gigabytes over a slow line."""

NAME = re.compile(rf"[a-z0-9][a-z0-9-]*-\d{{8}}T\d{{6}}Z{re.escape(SUFFIX)}")
"""The names of backups; what else lies in a place is nobody's business."""


class PlaceError(Exception):
    """A place that can't be used; the message says why and what to look at."""


class Place(Protocol):
    """Keeps backups by their names."""

    @property
    def private(self) -> bool:
        """Whether only the operator reads it: else what is put there is sealed before."""
        ...

    def put(self, path: Path, name: str) -> str:
        """Put a file there; where it lies then, for people."""
        ...

    def names(self) -> list[str]:
        """The names of all that are there, the oldest first."""
        ...

    def get(self, name: str, to: Path) -> None:
        """Bring one here. `to` is written anew."""
        ...


class Folder:
    """A folder of this computer: files 0600, the folder 0700 if it is made here."""

    private = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, path: Path, name: str) -> str:
        """See Place. A file that lies in the folder already is renamed, never copied."""
        target = self.path / name
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.parent != self.path:
                beside = self.path / f"{_PARTIAL}{secrets.token_hex(8)}"
                try:
                    _copied(path, beside)
                    beside.rename(target)
                except BaseException:
                    beside.unlink(missing_ok=True)
                    raise
            else:
                path.rename(target)
            durable_file.sync_directory(self.path)
        except OSError as error:
            raise PlaceError(f"{target}: {error.strerror or error}") from None
        return str(target)

    def names(self) -> list[str]:
        """See Place."""
        if not self.path.is_dir():
            return []
        return sorted(each.name for each in self.path.iterdir() if NAME.fullmatch(each.name))

    def get(self, name: str, to: Path) -> None:
        """See Place."""
        try:
            _copied(self.path / name, to)
        except OSError as error:
            raise PlaceError(f"{self.path / name}: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class Sftp:
    """A folder on another machine, through OpenSSH's sftp(1): `options` say how it is reached, the
    host comes last. Key and host key are OpenSSH's matter."""

    host: str
    path: str
    options: tuple[str, ...] = ()
    private = False

    def put(self, path: Path, name: str) -> str:
        """See Place. What arrived is read back and compared: sftp itself compares nothing."""
        beside = f"{self.path}/{_PARTIAL}{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            back = Path(folder) / "back"
            try:
                self._run(
                    *(f"-mkdir {folder}" for folder in _above(self.path)),
                    f"put {_quoted(path)} {_quoted(beside)}",
                    f"chmod 600 {_quoted(beside)}",
                    f"get {_quoted(beside)} {_quoted(back)}",
                )
                if _digest(back) != _digest(path):
                    raise PlaceError(f"{self.host}:{self.path}: what arrived there is another file")
                # OpenSSH's rename replaces, as posix-rename@openssh.com.
                self._run(f"rename {_quoted(beside)} {_quoted(f'{self.path}/{name}')}")
            except BaseException:
                # Only the partial one, and only if it came about.
                self._run(f"-rm {_quoted(beside)}", must=False)
                raise
        return f"ssh://{self.host}{self.path}/{name}"

    def names(self) -> list[str]:
        """See Place. A folder that isn't there has none."""
        # A leading hyphen in sftp's batch: a failure of this command ends nothing.
        said = self._run(f"-ls -1 {_quoted(self.path)}")
        found = (line.strip().rpartition("/")[2] for line in said.splitlines())
        return sorted(each for each in found if NAME.fullmatch(each))

    def get(self, name: str, to: Path) -> None:
        """See Place."""
        self._run(f"get {_quoted(f'{self.path}/{name}')} {_quoted(to)}")

    def _run(self, *lines: str, must: bool = True) -> str:
        words = ["sftp", "-q", "-b", "-", *self.options, "--", self.host]
        try:
            done = subprocess.run(
                words,
                input="".join(f"{line}\n" for line in lines),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PlaceError(f"{self.host}: sftp took more than {_PATIENCE:.0f} seconds") from None
        if done.returncode and must:
            said = done.stderr.strip().splitlines() or ["it gave no reason"]
            raise PlaceError(f"{self.host}: sftp: {said[-1]}")
        return done.stdout


class S3:
    """A bucket of an S3-compatible service. boto3 is imported with the first use."""

    private = False

    def __init__(self, bucket: Bucket, credentials: str) -> None:
        """`credentials` are the text of a file in AWS's own format, section `default`."""
        self._bucket = bucket
        self._prefix = f"{bucket.prefix}backups/"
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(credentials)
            keys = parser["default"]
            self._keys = (keys["aws_access_key_id"], keys["aws_secret_access_key"])
        except (configparser.Error, KeyError):
            # Not the parser's own words: they quote the file.
            raise PlaceError(
                f"bucket {bucket.bucket}: its access key's file can't be read"
            ) from None

    def put(self, path: Path, name: str) -> str:
        """See Place. The service compares the bytes with their digest before it shows them."""
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").digest()
            content.seek(0)
            self._ask(
                "put_object",
                Key=self._prefix + name,
                Body=content,
                ContentLength=path.stat().st_size,
                ChecksumSHA256=base64.b64encode(digest).decode(),
            )
        return f"s3://{self._bucket.bucket}/{self._prefix}{name}"

    def names(self) -> list[str]:
        """See Place."""
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = self._ask("list_objects_v2", Prefix=self._prefix, **more)
            found += [each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return sorted(each for each in found if NAME.fullmatch(each))
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def get(self, name: str, to: Path) -> None:
        """See Place."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        answer = self._ask("get_object", Key=self._prefix + name)
        try:
            with to.open("wb") as file:
                shutil.copyfileobj(answer["Body"], file, 1 << 20)
        except (BotoCoreError, HTTPError) as error:
            raise PlaceError(f"bucket {self._bucket.bucket}: {name}: {error}") from None
        except OSError as error:
            raise PlaceError(f"{to}: it can't be written: {error.strerror or error}") from None

    def _ask(self, what: str, **arguments: Any) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        session = boto3.session.Session(
            *self._keys,
            region_name=self._bucket.region,
        )
        client = session.client(
            "s3",
            endpoint_url=self._bucket.endpoint,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 3},
                # Services that aren't Amazon's seldom have a name per bucket.
                s3={"addressing_style": "path" if self._bucket.endpoint else "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        try:
            return getattr(client, what)(Bucket=self._bucket.bucket, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise PlaceError(f"bucket {self._bucket.bucket}: {error}") from None


def _copied(path: Path, to: Path) -> None:
    """Bytes synced to a new file of mode 0600."""
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as copy, path.open("rb") as source:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        durable_file.sync(copy.fileno())


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _above(path: str) -> Sequence[str]:
    """The folder and those above it, the uppermost first."""
    parts = [each for each in path.split("/") if each]
    return [_quoted("/" + "/".join(parts[: n + 1])) for n in range(len(parts))]


def _quoted(path: str | Path) -> str:
    """A path in sftp's batch, where quotes, backslashes and wildcards mean something."""
    escaped = re.sub(r'([\\"*?\[\]])', r"\\\1", str(path))
    return f'"{escaped}"'
