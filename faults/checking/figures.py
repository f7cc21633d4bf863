"""What a run of crashes came to: counts, of which some must be 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

BROKEN_PROMISES = {
    "lost": "acknowledged files that are gone",
    "damaged": "acknowledged files with other bytes than the receipt's",
    "partial": "visible files that are no whole upload, or lack their attributes",
    "forgotten": "offsets told that are not on disk",
    "stuck": "uploads that could not be taken to their end afterwards",
    "twice": "tokens with more than one file",
    "leftover": "staging files and attributes that nobody needs",
    "refused": "answers that nothing explains",
    "down": "starts that failed",
    "undeleted": "deletions that failed",
    "returned": "files that had ended or were deleted, and are served or readable again",
    "exposed": "held files that are served, or that nginx could read",
    "withheld": "files that are not served, although released, brought back or never ended",
}
"""What must not happen, by the name it is counted under."""

_MOST_COMPLAINTS = 20


@dataclass
class Figures:
    """One store's figures under one kind of crash."""

    crashes: int = 0
    acknowledged: int = 0
    stored_bytes: int = 0
    told: int = 0
    """Offsets told to uploads that the crash found open."""
    resumed: int = 0
    """Uploads that a crash cut and that reached their end afterwards, byte for byte."""
    recovery: list[float] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    explained: Counter[int] = field(default_factory=Counter)
    """Statuses other than success where an injection or the crash itself explains them."""

    deleted: int = 0
    """Files deleted."""
    changed: int = 0
    """Ends, their taking back, holds, releases and deletions that were acknowledged."""

    def complain(self, promise: str, what: str) -> None:
        """Count a broken promise, and keep the first few in words."""
        assert promise in BROKEN_PROMISES, promise  # noqa: S101 (a slip of this program)
        self.broken[promise] += 1
        if len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints.append(f"{promise}: {what}")

    def acknowledge(self, size: int) -> None:
        """Count an acknowledged file."""
        self.acknowledged += 1
        self.stored_bytes += size

    @property
    def holds(self) -> bool:
        """Nothing happened that must not happen."""
        return not self.broken.total()

    @property
    def recovery_median(self) -> float:
        """Seconds from a start to the first answer."""
        return median(self.recovery) if self.recovery else 0.0

    @property
    def recovery_longest(self) -> float:
        """Seconds of the slowest start."""
        return max(self.recovery, default=0.0)

    def line(self) -> str:
        """Progress in a line."""
        told = f"{self.acknowledged} acknowledged, {self.resumed} resumed"
        broken = ", ".join(f"{count} {name}" for name, count in sorted(self.broken.items()))
        return f"{told}, {broken or 'nothing broken'}"


@dataclass(frozen=True)
class Row:
    """The figures of one store under one kind of crash."""

    store: str
    crash: str
    setup: str
    figures: Figures
