"""What lies on a node's disk, compared with what was tried and acknowledged."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agent.storage.attributes import Attributes
from faults.checking.figures import Figures
from faults.checking.journal import Attempt, Journal

_ATTRIBUTES = ".attr.json"


@dataclass(frozen=True)
class Visible:
    """A file that downloads would serve. `file_id` is None where its attributes are missing."""

    path: str
    file_id: str | None
    size: int
    sha256: str


class Shelf:
    """The visible files of one node, read anew at each check; each is hashed once."""

    def __init__(self, root: Path) -> None:
        self._uploads = root / "uploads"
        self._staging = root / "staging"
        self._hashed: dict[str, Visible] = {}
        self._reported: set[str] = set()

    def forget(self) -> None:
        """Hash every file again at the next check: what was right once may not be any more."""
        self._hashed.clear()

    def check(self, journal: Journal, figures: Figures) -> None:
        """Count every broken promise among visible and acknowledged files, each once."""
        before = self._hashed
        found = [before.get(name) or look(path, name) for path, name in self._files()]
        self._hashed = {visible.path: visible for visible in found}
        ids = Counter(visible.file_id for visible in found if visible.file_id)
        by_id = {visible.file_id: visible for visible in found}
        for visible in found:
            attempt = journal.find(visible.file_id) if visible.file_id else None
            if words := what_is_partial(visible, attempt):
                self._report(figures, "partial", visible.path, words)
        for file_id, count in ids.items():
            if count > 1:
                self._report(figures, "twice", file_id, f"{file_id}: {count} files")
        for attempt in journal.acknowledged():
            if wrong := what_is_missing(attempt, by_id.get(attempt.claims.file_id)):
                self._report(figures, wrong[0], attempt.claims.file_id, wrong[1])

    def check_staging(self, figures: Figures) -> None:
        """With no upload under way nothing is left in staging, and no attributes without data."""
        for path in self._staging.iterdir():
            words = f"staging/{path.name}, {path.stat().st_size} bytes"
            self._report(figures, "leftover", path.name, words)
        for path in self._uploads.rglob(f"*{_ATTRIBUTES}"):
            data = path.with_name(path.name.removesuffix(_ATTRIBUTES))
            if not data.exists() and not _is_tombstone(path):
                self._report(figures, "leftover", path.name, path.name)

    def _report(self, figures: Figures, promise: str, what: str, words: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            figures.complain(promise, words)

    def _files(self) -> Iterator[tuple[Path, str]]:
        for path in self._uploads.rglob("*"):
            if not path.name.endswith(_ATTRIBUTES) and path.is_file():
                yield path, str(path.relative_to(self._uploads))


def _is_tombstone(path: Path) -> bool:
    try:
        return Attributes.model_validate_json(path.read_bytes()).deleted_at is not None
    except ValidationError:
        return False


def look(path: Path, name: str) -> Visible:
    """The file at `path` with its attributes' word of whose it is."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    beside = path.with_name(path.name + _ATTRIBUTES)
    try:
        file_id = Attributes.model_validate_json(beside.read_bytes()).file_id
    except (FileNotFoundError, ValidationError):
        file_id = None
    return Visible(name, file_id, path.stat().st_size, sha256)


def what_is_partial(visible: Visible, attempt: Attempt | None) -> str | None:
    """Why a visible file is no whole upload with its attributes, in words; None when it is one."""
    if visible.file_id is None:
        return f"{visible.path}: no attributes, {visible.size} bytes"
    if attempt is None:
        return f"{visible.path}: nobody uploaded {visible.file_id}"
    if attempt.stored is None and visible.sha256 != attempt.content.sha256:
        return f"{visible.path}: {_difference(visible, attempt)}"
    return None


def what_is_missing(attempt: Attempt, visible: Visible | None) -> tuple[str, str] | None:
    """The broken promise of an acknowledged upload, and it in words; None when it is kept."""
    called = f"{attempt.way} {attempt.claims.file_id}, {attempt.content.size} bytes"
    if visible is None:
        return "lost", called
    if visible.sha256 != attempt.content.sha256:
        return "damaged", f"{called}: {_difference(visible, attempt)}"
    if attempt.stored is not None and visible.path != str(attempt.stored.path):
        return "lost", f"{called}: at {visible.path}, acknowledged at {attempt.stored.path}"
    return None


def _difference(visible: Visible, attempt: Attempt) -> str:
    if visible.size != attempt.content.size:
        return f"{visible.size} of {attempt.content.size} bytes"
    return "other bytes than were sent"
