"""A whole folder adopted: looked through first, then file by file, at the scrubber's pace.

Nothing of a run is kept but what it has stored: the next one goes through the folder again, finds
what is stored already, and goes on with the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agent.adoption.adopting import Adopter
from agent.adoption.naming import shown
from agent.adoption.outcome import Outcome, Summary
from agent.adoption.walk import Found, NoFile, Walk
from agent.host.throttle import Throttle
from agent.settings import Settings
from agent.storage.staging import DiskFull
from portside.quantities import format_duration, format_size

TELL_EVERY = 5.0
"""Seconds between two lines of progress."""

_STEP = 0.2
"""Seconds of waiting after which it is looked whether to stop."""


class Stopped(Exception):
    """Somebody wants the run to end: nothing of the file that was being read is stored."""


@dataclass(slots=True)
class Steering:
    """How fast a run goes, whether it goes on, and who is told how far it is."""

    throttle: Throttle
    tell: Callable[[str], None]
    stopped: bool = False
    files: int = 0
    bytes: int = 0
    """Found in all."""
    files_done: int = 0
    bytes_done: int = 0
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def pace(self, size: int) -> None:
        """So many bytes were read: wait for the next one's turn. Raises Stopped."""
        self.bytes_done += size
        turn = time.monotonic() + self.throttle.take(size)
        while True:
            if self.stopped:
                raise Stopped
            self.tell_now_and_then()
            left = turn - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _STEP))

    def tell_now_and_then(self) -> None:
        """A line of progress, if it is time for one."""
        now = time.monotonic()
        if now - self._told < TELL_EVERY:
            return
        self._told = now
        rate = self.bytes_done / max(now - self._began, 0.001)
        left = max(0, self.bytes - self.bytes_done) / rate if rate else 0.0
        self.tell(
            f"{self.files_done} of {self.files} files, {format_size(self.bytes_done)} of "
            f"{format_size(self.bytes)}, about {format_duration(left)} left"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Adopts what a folder holds."""

    settings: Settings
    adopter: Adopter
    walk: Walk
    steering: Steering

    def plan(self) -> None:
        """Count what there is, and see that what has to be copied fits.

        Raises DiskFull before anything is begun, OSError, and Stopped.
        """
        steering, to_copy = self.steering, 0
        for found in self.walk:
            if steering.stopped:
                raise Stopped
            if isinstance(found, Found):
                steering.files += 1
                steering.bytes += found.seen.st_size
                if self._is_copied(found) and not self.adopter.is_known(found):
                    to_copy += found.seen.st_size
        free = shutil.disk_usage(self.settings.root).free - self.settings.sizing.disk_kept_free
        if to_copy > max(free, 0):
            raise DiskFull(
                f"{format_size(to_copy)} have to be copied and {format_size(max(free, 0))} are "
                "free for them: nothing was begun"
            )

    def outcomes(self, summary: Summary, *, dry: bool) -> Iterator[Outcome]:
        """Adopt one file after the other, or say what would become of it.

        Raises Stopped, and what `Adopter.adopt` raises.
        """
        act = self.adopter.foresee if dry else self.adopter.adopt
        for found in self.walk:
            if self.steering.stopped:
                raise Stopped
            if isinstance(found, NoFile):
                outcome = Outcome(shown(found.path), "left", found.why)
            else:
                before = self.steering.bytes_done
                outcome = act(found)
                self.steering.files_done += 1
                # What was read twice or not at all counts once.
                self.steering.bytes_done = before + found.seen.st_size
                self.steering.tell_now_and_then()
            summary.add(outcome)
            yield outcome

    def _is_copied(self, found: Found) -> bool:
        way = self.adopter.way
        if way in ("move", "link"):
            return False
        elsewhere = found.seen.st_dev != self.settings.root.stat().st_dev
        return way == "copy" or elsewhere or found.seen.st_nlink > 1
