"""What became of each file, in words for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

Result = Literal["adopted", "already", "would-be", "left"]
"""`already`: the same content is stored under its name; `would-be`: in a dry run."""

How = Literal["move", "copy", "link"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One entry of the folder."""

    source: str
    result: Result
    why: str | None = None
    """Why it was left."""
    how: How | None = None
    name: str | None = None
    file_id: str | None = None
    path: str | None = None
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_ordinary(self) -> bool:
        """Whether there is nothing that a person should read of it."""
        return self.result != "left" and not self.notes

    def line(self) -> str:
        """For people."""
        said = "; ".join((*((self.why,) if self.why else ()), *self.notes))
        return f"{self.source}: {self.result}" + (f": {said}" if said else "")

    def as_json(self) -> str:
        """One line for programs."""
        known = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        return json.dumps(known, ensure_ascii=False)


@dataclass(slots=True)
class Summary:
    """What a run came to: entries of the folder, and bytes of those adopted."""

    results: dict[Result, int] = field(default_factory=dict)
    bytes: int = 0
    ended: str | None = None
    """Why it ended early."""

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.results[outcome.result] = self.of(outcome.result) + 1
        if outcome.result in ("adopted", "would-be"):
            self.bytes += outcome.size or 0

    def of(self, result: Result) -> int:
        """How many have come to this."""
        return self.results.get(result, 0)

    def as_json(self) -> str:
        """One line for programs."""
        counted = {key: self.of(key) for key in ("adopted", "already", "would-be", "left")}
        return json.dumps({"summary": {**counted, "bytes": self.bytes, "ended": self.ended}})
