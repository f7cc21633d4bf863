"""The control plane and this node find out which files only one of them knows, and settle it.

Each heartbeat's answer has the digest of what the control plane believes to be here. When that is
another than ours, the node goes through its files by id and asks about each page
(`portside.wire.inventory`). What the control plane doesn't know it is told, with all that the
attributes say; what it believes and isn't here is looked for and told to be gone
(`agent.index.removals`). So a catalogue that was restored from an old backup, or begun anew, is
whole again without anybody's doing.

While uploads come in the two differ for moments, and a million files take a while to go through: a
comparison of many pages that came to nothing is followed by a pause of fifty times its length,
unless the control plane was away since.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.heartbeat.client import ControlAway, ControlClient
from agent.heartbeat.held_files import described, in_bounds
from agent.host.supervised_thread import Pulse
from agent.index import removals
from agent.index.database import Database
from agent.integrity.inspection import attributes_at
from agent.settings import Settings
from agent.storage import tombstones
from agent.storage.attributes import Attributes
from agent.storage.quarantine import ended
from portside.inventory import EMPTY, toggled
from portside.names import attributes_path
from portside.wire.heartbeat import WhyGone
from portside.wire.inventory import (
    MOST_HELD,
    MOST_IDS,
    BelievedFile,
    HeldFile,
    HeldFiles,
    InventoryPage,
)

_log = structlog.get_logger()

SHARE = 50
"""Times as long as it took is a comparison's pause: 2 % of the time at most goes into them."""

LONGEST_PAUSE = 900.0
"""Seconds at most between two comparisons while the two inventories differ."""

_LOOK_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class _Difference:
    """What an answered heartbeat has shown."""

    url: str
    ours: str
    believed: str


@dataclass(slots=True)
class _Outcome:
    """What a comparison has come to, for the log."""

    pages: int = 0
    told: int = 0
    refused: int = 0
    gone: int = 0
    outdated: int = 0

    def pause(self, took: float) -> float:
        """Seconds until the next comparison may begin.

        One page costs nothing, and whatever was told is followed by a look at what is left.
        """
        if self.pages <= 1 or self.told or self.gone or self.outdated:
            return 0.0
        return min(SHARE * took, LONGEST_PAUSE)


class InventoryComparison:
    """Compares one node's files with the control plane's belief. `run` is one thread's work."""

    def __init__(self, settings: Settings, database: Database, control: ControlClient) -> None:
        self._settings = settings
        self._database = database
        self._control = control
        self._lock = threading.Lock()
        self._difference: _Difference | None = None
        self._not_before = 0.0

    def heard(self, url: str, ours: str, believed: str | None) -> None:
        """A heartbeat that told `ours` was answered with `believed`, None by an older release."""
        with self._lock:
            differs = believed is not None and believed != ours
            self._difference = _Difference(url, ours, believed) if differs and believed else None

    def hasten(self) -> None:
        """Make no pause after the last comparison: a control plane that was away may be another."""
        with self._lock:
            self._not_before = 0.0

    def run(self, pulse: Pulse) -> None:
        """Compare whenever there is a difference, until the worker is to stop."""
        while not pulse.stopped:
            with self._lock:
                is_due = time.monotonic() >= self._not_before
                found, self._difference = self._difference, None
            if found is None or not is_due:
                pulse.wait(_LOOK_EVERY)
                continue
            began = time.monotonic()
            try:
                outcome = self._compare(found.url, pulse)
            except ControlAway as away:
                if not pulse.stopped:
                    # The next heartbeat shows whether it is back.
                    _log.warning("inventory not compared", kind=away.kind, error=str(away))
                continue
            except (sqlite3.OperationalError, OSError) as error:
                # A full or broken disk: it is compared anew after the next heartbeat.
                _log.error("inventory not compared", error=str(error))
                continue
            now = time.monotonic()
            with self._lock:
                self._not_before = now + outcome.pause(now - began)

    def _compare(self, url: str, pulse: Pulse) -> _Outcome:
        """Go through all files. Raises ControlAway, sqlite3.OperationalError, OSError."""

        def stopped() -> bool:
            return pulse.stopped

        outcome = _Outcome()
        for page in self._pages():
            if pulse.stopped:
                break
            pulse.beat()
            outcome.pages += 1
            answer = self._control.compare(url, page.model_copy(update={"file_ids": None}), stopped)
            if answer.same:
                continue
            answer = self._control.compare(url, page, stopped)
            self._tell(url, answer.wanted, outcome, pulse)
            outcome.gone += self._look_for(answer.missing)
        if outcome.told or outcome.refused or outcome.gone:
            _log.info(
                "inventory compared",
                told=outcome.told,
                refused=outcome.refused,
                gone=outcome.gone,
            )
        return outcome

    def _pages(self) -> Iterator[InventoryPage]:
        """Every file's id, page by page; between two of them files come and go."""
        after: str | None = None
        while True:
            rows = self._database.rows(
                "SELECT file_id FROM files WHERE state IN ('COMMITTED', 'ENDED') AND file_id > ? "
                "ORDER BY file_id LIMIT ?",
                (after or "", MOST_IDS),
            )
            ids = tuple(file_id for (file_id,) in rows)
            is_last = len(ids) < MOST_IDS
            yield InventoryPage(
                node_id=self._settings.node_id,
                after=after,
                last=None if is_last else ids[-1],
                digest=toggled(EMPTY, ids),
                file_ids=ids,
            )
            if is_last:
                return
            after = ids[-1]

    def _tell(self, url: str, wanted: Sequence[str], outcome: _Outcome, pulse: Pulse) -> None:
        """Tell all that is known of these files."""
        for start in range(0, len(wanted), MOST_HELD):
            # Before they are read: what a later heartbeat tells of them is newer.
            ticket = self._control.ticket
            for files in in_bounds(self._held(wanted[start : start + MOST_HELD])):
                if pulse.stopped:
                    return
                pulse.beat()
                held = HeldFiles(node_id=self._settings.node_id, ticket=ticket, files=files)
                answer = self._control.tell_held(url, held, lambda: pulse.stopped)
                if answer.outdated:
                    # A heartbeat came in between; what is left is told after the next comparison.
                    outcome.outdated += 1
                    break
                outcome.told += answer.taken
                outcome.refused += len(answer.not_taken)
                for each in answer.not_taken:
                    _log.error("file not taken over", file_id=each.file_id, why=each.why)

    def _held(self, file_ids: Sequence[str]) -> Iterator[HeldFile]:
        rows = self._database.rows(
            "SELECT file_id, jti, stored FROM files WHERE state IN ('COMMITTED', 'ENDED') "
            "AND file_id IN (SELECT value FROM json_each(?))",
            (json.dumps(file_ids),),
        )
        for held in described(rows):
            if self._is_there(held):
                yield held.model_copy(update={"proof": self._proof(held)})

    def _proof(self, file: HeldFile) -> str | None:
        """What the file came with, from beside its data; None where that can't be read."""
        kept = ended(self._settings, file.file_id).attributes
        for place in (self._settings.uploads / attributes_path(file.path), kept):
            found = attributes_at(place)
            if isinstance(found, Attributes) and found.file_id == file.file_id:
                return found.upload_token
        return None

    def _is_there(self, file: HeldFile) -> bool:
        """Whether the disk has as many bytes as the attributes say. Raises OSError for a bad disk.

        The control plane takes our word for a copy, and lets others go for it. Whether each byte is
        right the scrubber finds out; one that was cut short or is another file shows at once.
        """
        # One whose time is over is there too, as long as its bytes are kept.
        places = (self._settings.uploads / file.path, ended(self._settings, file.file_id).data)
        # None: it goes just now, or only the index has it.
        found = next((size for each in places if (size := _size_of(each)) is not None), None)
        if found == file.size:
            return True
        _log.error(
            "file doesn't fit its attributes: run `portside-agent fsck`",
            file_id=file.file_id,
            path=str(file.path),
            size=file.size,
            found=found,
        )
        return False

    def _look_for(self, missing: Sequence[BelievedFile]) -> int:
        """Have it told of files that should be here and aren't; returns how many."""
        gone = 0
        for each in missing:
            why = self._why_gone(each)
            if why is not None:
                gone += 1
                _log.warning("file is not here", file_id=each.file_id, why=why)
                order = (
                    tombstones.order_of(self._settings, self._database, each.file_id)
                    if why == "deleted"
                    else None
                )
                with self._database.transaction() as connection:
                    if order is None:
                        removals.note(connection, each.file_id, why)
                    else:
                        removals.note(connection, each.file_id, why, order.token, order.deleted_at)
        return gone

    def _why_gone(self, file: BelievedFile) -> WhyGone | None:
        """Why a file isn't here; None when it is after all, or when only the index lacks it."""
        row = self._database.row("SELECT state FROM files WHERE file_id = ?", (file.file_id,))
        match None if row is None else row[0]:
            case "COMMITTED" | "PENDING" | "DELETING" | "ENDED":
                # It came after the page was read, or goes just now: the next comparison knows.
                return None
            case "QUARANTINED":
                return "damaged"
            case "DELETED":
                return "deleted"
        departed = self._database.row("SELECT 1 FROM departed WHERE file_id = ?", (file.file_id,))
        if departed is None and (self._settings.uploads / file.path).exists():
            _log.error(
                "file is on disk and not in the index: run `portside-agent fsck`",
                file_id=file.file_id,
                path=str(file.path),
            )
            return None
        return "missing"


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
