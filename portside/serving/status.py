"""What a service that is served by generations says of itself: a small file, always whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Status:
    """The numbers are those of `portside.serving.succession`; generations are process numbers."""

    asked: int = 0
    served: int = 0
    failed: int = 0
    waits: bool = False
    most: int = 0
    serving: int | None = None
    draining: tuple[int, ...] = ()

    def outcome(self, number: int) -> str | None:
        """What became of what was asked as `number`: `served`, `failed`; None while it is open."""
        if self.served >= number:
            return "served"
        return "failed" if self.failed >= number else None


def write(path: Path, status: Status) -> None:
    """Replace what is there. Raises OSError."""
    candidate = path.with_name(f".{path.name}.new")
    candidate.write_text(json.dumps(asdict(status)), encoding="ascii")
    candidate.replace(path)


def read(path: Path) -> Status:
    """What is said now; nothing where nobody has said anything yet, or this can't be understood."""
    try:
        said = json.loads(path.read_text(encoding="ascii"))
        known = {name: said[name] for name in Status.__slots__ if name in said}
        draining = tuple(known.get("draining", ()))
        # Names of files are made of them.
        if not all(isinstance(each, int) for each in draining):
            return Status()
        return Status(**{**known, "draining": draining})
    except (OSError, ValueError, TypeError, AttributeError):
        return Status()


def in_words(status: Status) -> str:
    """For people: `systemctl status` shows it."""
    words = "nobody serves" if status.serving is None else f"{status.serving} serves"
    if status.draining:
        words += f"; before it, and finishing what they have: {' '.join(map(str, status.draining))}"
    if status.waits:
        words += "; the next waits for one of them, for memory's sake"
    return words


def runtime_file(runtime: Path) -> Path:
    """Where a service says it."""
    return runtime / "serving.json"


def hand_back_file(runtime: Path, process: int) -> Path:
    """A generation for which this file is there is to hand back what can go on elsewhere."""
    return runtime / f"hand-back-{process}"


def is_asked_to_hand_back(runtime: Path) -> bool:
    """Whether this process, which a generation's first one started, is to hand back."""
    return hand_back_file(runtime, os.getppid()).exists()


def beyond_file(runtime: Path) -> Path:
    """Where this file is, the next generation may be one more than there may be at once."""
    return runtime / "one-beyond"


def goes_beyond(runtime: Path) -> bool:
    """Whether what is asked now may be. It counts once."""
    try:
        beyond_file(runtime).unlink()
    except FileNotFoundError:
        return False
    return True
