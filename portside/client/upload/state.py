"""What a later run needs to go on with an upload: one small file for each that isn't finished.

They hold tokens and lie under $XDG_STATE_HOME (XDG base directory specification) for their owner's
eyes only. The lock on a file tells that a process is at that upload: a second one is turned away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portside.client import xdg
from portside.client.http.errors import AlreadyRunning, LocalFileError
from portside.client.upload.body import OpenFile
from portside.client.upload.tus import is_place

_SUFFIX = ".json"
_NEW = ".new"
_SECOND = 1_000_000_000

_SWEEP_SECONDS = 0.2
"""A lock that is held for longer is an upload's; a sweep of another process takes less."""


class Begun(BaseModel):
    """Something that was begun for a file here. Sizes are bytes, `deadline` is Unix seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int = Field(ge=0)
    changed_at: int
    inode: int
    sample: str | None = None
    """Of the file's content (`OpenFile.sample`). An earlier release noted none."""
    deadline: int

    def is_of(self, file: OpenFile) -> bool:
        """Whether the file is still what it was at the beginning.

        A disk that was mounted anew may number its files anew, or have kept less of a moment than
        it showed: then size, moment and a look at the content decide. The receipt proves it all.
        """
        if (file.size, file.changed_at, file.inode) == (self.size, self.changed_at, self.inode):
            return True
        if file.size != self.size or not _is_same_moment(self.changed_at, file.changed_at):
            return False
        return self.sample is not None and self.sample == file.sample()

    @property
    def is_sound(self) -> bool:
        """Whether what it says can be used."""
        return True


class UploadState(Begun):
    """An upload that was begun.

    `places` are the paths of its upload's URL, or of its parts in file order, each of `part_size`
    bytes but the last.
    """

    node: str
    namespace: str
    token: str = Field(repr=False)
    part_size: int | None = Field(default=None, gt=0)
    places: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether the node's paths are such: the token goes there."""
        return all(is_place(place) for place in self.places)

    @property
    def is_complete(self) -> bool:
        """Whether every upload it needs was created."""
        needed = 1 if self.part_size is None else -(-self.size // self.part_size)
        return len(self.places) == needed


S = TypeVar("S", bound=Begun)


def facts_of(file: OpenFile) -> dict[str, str | int]:
    """What a `Begun` notes of its file."""
    return {
        # For people only, and JSON knows Unicode only.
        "path": str(file.path).encode("utf-8", "backslashreplace").decode(),
        "size": file.size,
        "changed_at": file.changed_at,
        "inode": file.inode,
        "sample": file.sample(),
    }


def state_folder(of: str = "uploads") -> Path:
    """$XDG_STATE_HOME/portside/uploads. Raises LocalFileError for a user who has no home."""
    folder = xdg.folder("XDG_STATE_HOME", ".local/state")
    if folder is None:
        raise LocalFileError(
            "no home folder to note in how far an upload is: set HOME or XDG_STATE_HOME, or use "
            "--no-resume"
        )
    return folder / "portside" / of


class StateFile(Generic[S]):
    """One upload's state file, locked while the context lasts; a folder holds one `kind` of them.

    `identity` is what tells this upload from others: the same in the next run. Raises
    AlreadyRunning, and LocalFileError where the folder can't be written.
    """

    def __init__(self, folder: Path, identity: Sequence[str], kind: type[S]) -> None:
        digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape"))
        self.path = folder / (digest.hexdigest() + _SUFFIX)
        self._kind = kind
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            _make_private(self.path.parent)
            descriptor = _open_locked(self.path)
        except OSError as error:
            raise LocalFileError(
                f"{self.path.parent}: {error.strerror}: no place to note how far an upload is; set "
                "XDG_STATE_HOME, or use --no-resume"
            ) from None
        if descriptor is None:
            raise AlreadyRunning("another process is sending this file to the same place")
        self._descriptor = descriptor
        _remove_stale(self.path.parent, self._kind, but=self.path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not os.fstat(self._descriptor).st_size:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def read(self) -> S | None:
        """What an earlier run left; None if there is nothing that can still be used."""
        return _usable(self._descriptor, self._kind)

    def write(self, state: S) -> None:
        """Replace what the file says, at once and for good. The lock goes with it."""
        temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}{_NEW}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(state.model_dump_json().encode() + b"\n")
            os.fsync(descriptor)
            temporary.rename(self.path)
        except OSError as error:
            raise LocalFileError(f"{temporary}: {error.strerror}") from None
        os.close(self._descriptor)
        self._descriptor = descriptor

    def clear(self) -> None:
        """The upload is finished, or can't be: the next run starts anew."""
        os.truncate(self._descriptor, 0)


def _is_same_moment(before: int, now: int) -> bool:
    """Whether a file's times (ns) are one: vfat keeps every other second, ext3 each."""
    kept_less = now % _SECOND == 0 and 0 <= before - now < 2 * _SECOND
    return before == now or kept_less


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _open_locked(path: Path, flags: int = os.O_CREAT) -> int | None:
    """The file at `path`, locked; None when another process has the lock.

    Between opening and locking it may have been replaced or removed: then what is there now.
    """
    gives_up = time.monotonic() + _SWEEP_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > gives_up:
                return None
            time.sleep(_SWEEP_SECONDS / 10)
            continue
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _usable(descriptor: int, kind: type[S]) -> S | None:
    """The state in an open file, unless there is none or its time is over."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    try:
        state = kind.model_validate_json(content)
    except ValidationError:
        # Empty: a process ended before it had begun. Anything else: of another release.
        return None
    return state if state.is_sound and time.time() < state.deadline else None


def _remove_stale(folder: Path, kind: type[Begun], but: Path) -> None:
    """Remove what no process is at and nobody can use any more."""
    for path in folder.iterdir():
        if path == but or path.suffix not in (_SUFFIX, _NEW):
            continue
        try:
            with path.open("rb") as file:
                # A look first: locking one that is in use could turn its own next run away.
                if path.suffix == _SUFFIX and _usable(file.fileno(), kind) is not None:
                    continue
            descriptor = _open_locked(path, flags=0)
        except FileNotFoundError:
            continue
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
