"""A backup as one file: an ordinary tar that `tar` and `sha256sum --check SHA256SUMS` read as well.

    manifest.json     what it is of and what is in it, in the clear: no secret is in it
    SHA256SUMS        of everything else
    database.gz       the control plane's database, compressed: SQLite's file or pg_dump's
    settings.tar.gz   its settings, roster and trusted public keys, to look things up
    secrets.tar.gz    the operator's keystore, always sealed with a passphrase

A part that is sealed (`portside.backup.sealing`) has `.sealed` behind its name. Nobody has to trust
a name or a length from inside: an archive that isn't exactly this is damaged.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, BinaryIO, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portside.backup.sealing import Seal, SealBroken
from portside.wire.bounds import Moment

FORMAT = 1
SUFFIX = ".portside-backup.tar"

_Name = Literal["database.gz", "settings.tar.gz", "secrets.tar.gz"]
DATABASE: _Name = "database.gz"
SETTINGS: _Name = "settings.tar.gz"
SECRETS: _Name = "secrets.tar.gz"
_NAMES = (DATABASE, SETTINGS, SECRETS)

_MANIFEST = "manifest.json"
_SUMS = "SHA256SUMS"
_SEALED = ".sealed"
_LONGEST_HEAD = 1 << 20
"""Bytes of manifest.json and of SHA256SUMS at most."""
_PIECE = 1 << 20

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Word = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\w.:+-]+$")]
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class BackupUnusable(Exception):
    """A backup that is damaged, or can't be opened; the message says why."""


class Part(BaseModel):
    """One part as it lies in the file. `sealed`: what opens it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    size: _Count
    sha256: _Digest
    sealed: Literal["key", "passphrase"] | None = None

    @property
    def member(self) -> str:
        """Its name in the tar."""
        return self.name + (_SEALED if self.sealed else "")


class About(BaseModel):
    """What a backup is of. `issuers` are the ids of the issuer keys that the cluster trusts: a
    cluster of the same name that was made anew has none of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    issuers: tuple[_Word, ...] = Field(min_length=1, max_length=1024)
    made_at: Moment
    release: _Word
    database: Literal["sqlite", "postgresql"]
    # `schema` is a method of pydantic's.
    revision: _Word
    """The database's schema."""
    nodes: _Count
    files: _Count
    newest: Moment | None
    """When the newest of these files was stored."""


class Manifest(BaseModel):
    """manifest.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    about: About
    parts: tuple[Part, ...] = Field(min_length=1, max_length=len(_NAMES))

    @property
    def name(self) -> str:
        """What its file is called: names sort by age."""
        return f"{self.about.cluster}-{self.about.made_at:%Y%m%dT%H%M%SZ}{SUFFIX}"

    def part(self, name: str) -> Part | None:
        """The part of this name."""
        return next((each for each in self.parts if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Source:
    """A part to be written: its bytes, whether they are compressed yet, what seals them."""

    name: _Name
    content: BinaryIO
    compressed: bool = False
    seal: Seal | None = None


def write(out: BinaryIO, about: About, sources: Sequence[Source], spool: Path) -> Manifest:
    """Write a backup, front to back; parts are made ready in `spool`, in files without a name.

    Raises OSError.
    """
    with tempfile.TemporaryDirectory(prefix=".pack-", dir=spool) as folder:
        ready = [_made_ready(each, about.cluster, Path(folder)) for each in sources]
        manifest = Manifest(format=1, about=about, parts=tuple(part for part, _ in ready))
        head = manifest.model_dump_json(indent=2).encode() + b"\n"
        sums = [(hashlib.sha256(head).hexdigest(), _MANIFEST)]
        sums += [(part.sha256, part.member) for part in manifest.parts]
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            moment = int(about.made_at.timestamp())
            _add(tar, _MANIFEST, BytesIO(head), len(head), moment)
            listed = "".join(f"{digest}  {name}\n" for digest, name in sums).encode()
            _add(tar, _SUMS, BytesIO(listed), len(listed), moment)
            for part, path in ready:
                with path.open("rb") as content:
                    _add(tar, part.member, content, part.size, moment)
    return manifest


def read(path: Path) -> Manifest:
    """What a backup says of itself: a look at its first bytes. Raises BackupUnusable, OSError."""
    with _opened(path) as tar:
        return _head(path, tar)[0]


def verify(path: Path) -> Manifest:
    """Read all of a backup and compare its digests. Raises BackupUnusable, OSError."""
    with _opened(path) as tar:
        manifest, sums = _head(path, tar)
        expected = {part.member: part for part in manifest.parts}
        if set(sums) != {_MANIFEST, *expected}:
            raise _damaged(path, "its list of digests doesn't fit its manifest")
        while member := tar.next():
            part = expected.pop(member.name, None)
            content = tar.extractfile(member) if part is not None and member.isreg() else None
            if part is None or content is None:
                raise _damaged(path, f"it has a part {member.name!r} that it doesn't name")
            size, digest = _measured(content)
            if (size, digest) != (part.size, part.sha256) or digest != sums[part.member]:
                raise _damaged(path, f"{part.member} has another digest than it should have")
        if expected:
            raise _damaged(path, f"{', '.join(sorted(expected))} is missing")
    return manifest


def unpack(path: Path, name: str, seals: Mapping[str, Seal], to: BinaryIO) -> None:
    """Write the text of a part, opened and no longer compressed, to `to`.

    `seals` are by `Part.sealed`. Raises BackupUnusable, OSError: `to` is then to be thrown away.
    """
    for piece in _text(path, name, seals, unzip=True):
        to.write(piece)


def copy_part(path: Path, name: str, to: BinaryIO) -> None:
    """Write a part that isn't sealed to `to` as it lies there, compressed."""
    for piece in _text(path, name, {}, unzip=False):
        to.write(piece)


def _text(path: Path, name: str, seals: Mapping[str, Seal], *, unzip: bool) -> Iterator[bytes]:
    with _opened(path) as tar:
        manifest, _ = _head(path, tar)
        part = manifest.part(name)
        if part is None:
            raise BackupUnusable(f"{path} has no {name}")
        content = tar.extractfile(part.member)
        if content is None:
            raise _damaged(path, f"{part.member} is no file")
        plain: Iterator[bytes] = _pieces(content)
        if part.sealed is not None:
            if part.sealed not in seals:
                raise BackupUnusable(f"{path}: {name} is sealed with a {part.sealed}: none is here")
            plain = seals[part.sealed].open(
                cast(BinaryIO, content), _context(manifest.about.cluster, name)
            )
        try:
            yield from _inflated(path, name, plain) if unzip else plain
        except SealBroken as broken:
            raise BackupUnusable(f"{path}: {name} can't be opened: {broken}") from None
        except zlib.error as error:
            raise _damaged(path, f"{name}: {error}") from None


def _inflated(path: Path, name: str, plain: Iterator[bytes]) -> Iterator[bytes]:
    """In pieces of bounded length: a megabyte of gzip can be a gigabyte of text."""
    inflater = zlib.decompressobj(wbits=31)
    for piece in plain:
        if inflater.eof:
            raise _damaged(path, f"{name} goes on after its end")
        rest = piece
        while rest and not inflater.eof:
            yield inflater.decompress(rest, _PIECE)
            rest = inflater.unconsumed_tail
        if inflater.unused_data:
            raise _damaged(path, f"{name} goes on after its end")
    while not inflater.eof and (text := inflater.decompress(b"", _PIECE)):
        yield text
    if not inflater.eof:
        raise _damaged(path, f"{name} ends too early")


def _made_ready(source: Source, cluster: str, folder: Path) -> tuple[Part, Path]:
    plain, path = folder / f"{source.name}.plain", folder / source.name
    with plain.open("w+b") as packed:
        if source.compressed:
            shutil.copyfileobj(source.content, packed, _PIECE)
        else:
            # No moment in it: the same database is the same bytes.
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as zipped:
                shutil.copyfileobj(source.content, zipped, _PIECE)
        packed.seek(0)
        with path.open("w+b") as made:
            context = _context(cluster, source.name)
            pieces = source.seal.seal(packed, context) if source.seal else _pieces(packed)
            for piece in pieces:
                made.write(piece)
            made.seek(0)
            size, digest = _measured(made)
    plain.unlink()
    sealed: Literal["key", "passphrase"] | None = None
    if source.seal is not None:
        sealed = "passphrase" if source.seal.is_passphrase else "key"
    return Part(name=source.name, size=size, sha256=digest, sealed=sealed), path


def _context(cluster: str, name: str) -> str:
    return f"portside-backup/{FORMAT}/{cluster}/{name}"


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int, moment: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, moment
    tar.addfile(member, content)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar; whatever tarfile finds wrong with it while it is read is damage."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise _damaged(path, f"it is no backup: {error}") from None


def _head(path: Path, tar: tarfile.TarFile) -> tuple[Manifest, dict[str, str]]:
    """The manifest, and the digests of everything by name. Raises BackupUnusable."""
    head, listed = _first(path, tar, _MANIFEST), _first(path, tar, _SUMS)
    lines = re.findall(r"^([0-9a-f]{64})  (\S+)$", listed.decode("ascii", "replace"), re.MULTILINE)
    sums = {name: digest for digest, name in lines}
    if sums.get(_MANIFEST) != hashlib.sha256(head).hexdigest():
        raise _damaged(path, f"{_MANIFEST} has another digest than it should have")
    try:
        return Manifest.model_validate_json(head), sums
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        if where == "format":
            raise BackupUnusable(
                f"{path} is of a format that this release doesn't know: use the release that made "
                "it, or a newer one"
            ) from None
        raise _damaged(path, f"{_MANIFEST}: {where}: {first['msg']}") from None


def _first(path: Path, tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.next()
    if member is None or member.name != name or not member.isreg() or member.size > _LONGEST_HEAD:
        raise _damaged(path, f"{name} isn't where it should be")
    content = tar.extractfile(member)
    return content.read() if content is not None else b""


def _measured(content: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(content):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    read: Callable[[], bytes] = lambda: content.read(_PIECE)  # noqa: E731
    return iter(read, b"")


def _damaged(path: Path, why: str) -> BackupUnusable:
    return BackupUnusable(f"{path} is damaged, or no backup: {why}")
