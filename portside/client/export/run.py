"""An export: several files at a time, each verified while it is written, and on disk before the
next.

What is in the folder already, with the right digest, isn't fetched again; so the same command goes
on after an end of any kind. A file that no node gives is no reason not to fetch the others: it is
named at the end. Where the folder's disk fails or fills, or the control plane is away, all ends.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from portside.client.control import Control
from portside.client.download.fetch import fetch
from portside.client.download.partial import PartialFile
from portside.client.export.manifest import Entry, Manifest
from portside.client.export.places import Places
from portside.client.http.errors import (
    ControlRefused,
    ControlUnavailable,
    DownloadError,
    LocalFileError,
    slug_of,
)
from portside.client.progress import Display, display
from portside.wire.control import FileView

_PAGE = 500
"""Files of one request."""

_WAITING = 100
"""Files that are listed ahead of those being fetched."""


_Wanted = tuple[FileView, tuple[PurePosixPath, ...]]
"""A file, and the paths that are kept for it: the first that suits is its own."""


class _Stopped(Exception):
    """Another thread has failed, or the user wants an end."""


@dataclass(slots=True)
class Exported:
    """What a run came to; `missing` are those that no node has given, each with why."""

    fetched: int = 0
    there: int = 0
    bytes: int = 0
    """Of those fetched."""
    missing: list[tuple[FileView, str]] = field(default_factory=list)
    ended: int = 0
    """Whose time is over, and which are kept for their grace alone."""


@dataclass(slots=True)
class _Shown:
    """One file's part of the progress of all. What is said of it is said with its name."""

    total: _Total
    name: str
    seen: int = 0

    def start_over(self, when_sent: str) -> None:
        self.back_at(0)

    def sent(self, count: int) -> None:
        self.total.moved(count - self.seen)
        self.seen = count

    def back_at(self, count: int) -> None:
        self.seen = count

    def stalled(self, text: str) -> None:
        self.say(text)

    def say(self, text: str) -> None:
        self.total.say(f"{self.name}: {text}")


class _Total:
    def __init__(self, shown: Display) -> None:
        self._shown = shown
        self._lock = threading.Lock()
        self._bytes = 0
        self.stopped = threading.Event()

    def moved(self, count: int) -> None:
        if self.stopped.is_set():
            raise _Stopped
        with self._lock:
            self._bytes += count
            self._shown.sent(self._bytes)

    def say(self, text: str) -> None:
        with self._lock:
            self._shown.say(text)


class Export:
    """Brings files to `folder`. `connect` makes a connection for each thread."""

    def __init__(
        self, folder: Path, connect: Callable[[], Control], ca: Path | None, shown: Display
    ) -> None:
        self._folder, self._connect, self._ca = folder, connect, ca
        self._places = Places(folder)
        self._total = _Total(shown)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self.done = Exported()

    def run(self, views: Iterable[FileView], manifest: Manifest, parallel: int) -> None:
        """Bring every one of them, and list those that are there in the end.

        Raises LocalFileError, ControlError, and what `views` raises.
        """
        waiting: queue.Queue[_Wanted | None] = queue.Queue(_WAITING)
        threads = [
            threading.Thread(target=self._work, args=(waiting, manifest), name=f"export-{number}")
            for number in range(parallel)
        ]
        for thread in threads:
            thread.start()
        try:
            for view in views:
                if not self._is_wanted(view):
                    continue
                # In the order of the listing: a second run gives each file the same path.
                self._put(waiting, (view, self._places.take(view)))
        except _Stopped:
            pass
        except BaseException:
            self._total.stopped.set()
            raise
        finally:
            for _ in threads:
                self._end(waiting)
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def plan(self, views: Iterable[FileView], manifest: Manifest) -> None:
        """List them only, each with the path that it would get."""
        for view in views:
            if self._is_wanted(view):
                manifest.add(Entry.of(view, self._places.plan(view)))
                self.done.there += 1

    def _is_wanted(self, view: FileView) -> bool:
        """Whether it is a stored file that a node may have."""
        if view.state == "lost":
            self.done.missing.append((view, "every copy of it is lost"))
        if view.state == "expired":
            self.done.ended += 1
        return view.state in ("committed", "replicating", "safe")

    def _put(self, waiting: queue.Queue[_Wanted | None], wanted: _Wanted) -> None:
        while True:
            if self._total.stopped.is_set():
                raise _Stopped
            try:
                waiting.put(wanted, timeout=0.2)
            except queue.Full:
                continue
            return

    def _end(self, waiting: queue.Queue[_Wanted | None]) -> None:
        """Tell one thread that nothing comes any more; what waits is dropped after a failure."""
        while True:
            try:
                waiting.put(None, timeout=0.2)
            except queue.Full:
                if self._total.stopped.is_set():
                    # A thread may have taken the last one meanwhile.
                    with suppress(queue.Empty):
                        waiting.get_nowait()
                continue
            return

    def _work(self, waiting: queue.Queue[_Wanted | None], manifest: Manifest) -> None:
        try:
            with closing(self._connect()) as control:
                while (wanted := waiting.get()) is not None:
                    if not self._total.stopped.is_set():
                        self._bring(control, *wanted, manifest)
        except _Stopped:
            pass
        except BaseException as failure:
            with self._lock:
                self._failure = self._failure or failure
            self._total.stopped.set()

    def _bring(
        self, control: Control, view: FileView, paths: Sequence[PurePosixPath], manifest: Manifest
    ) -> None:
        path, is_there = self._places.of(view, paths)
        if not is_there:
            place = self._folder / path
            part = PartialFile(place, view.file_id, replaces=False)
            try:
                fetch(control, view, part, self._ca, _Shown(self._total, str(path)))
            except (DownloadError, ControlRefused, ControlUnavailable) as error:
                if isinstance(error, ControlUnavailable) and not _is_of_the_file(error):
                    raise
                with self._lock:
                    self.done.missing.append((view, str(error)))
                return
            _date(place, view)
        manifest.add(Entry.of(view, path))
        with self._lock:
            self.done.there += is_there
            self.done.fetched += not is_there
            self.done.bytes += 0 if is_there else view.size or 0


def export_all(
    control: Control,
    connect: Callable[[], Control],
    ca: Path | None,
    folder: Path,
    query: Mapping[str, str],
    parallel: int,
    *,
    fetching: bool,
) -> Exported:
    """Bring all files that fit to `folder`, with the lists of them; or, without `fetching`, these
    lists alone.

    Raises LocalFileError, AlreadyRunning and ControlError: then the lists are as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalFileError(f"{folder}: {error.strerror}") from None
    with display("export", None, "verified") as shown, Manifest.begun(folder) as manifest:
        export = Export(folder, connect, ca, shown)
        if fetching:
            export.run(_views(control, query), manifest, parallel)
        else:
            export.plan(_views(control, query), manifest)
    return export.done


def _views(control: Control, query: Mapping[str, str]) -> Iterator[FileView]:
    """Every file that fits. Raises ControlError."""
    cursor: str | None = None
    while True:
        at = {} if cursor is None else {"cursor": cursor}
        page = control.files({**query, "limit": str(_PAGE), **at})
        yield from page.files
        cursor = page.next
        if cursor is None or not page.files:
            return


def _is_of_the_file(error: ControlUnavailable) -> bool:
    """Whether no node has this file just now, and the control plane itself is there."""
    return error.problem is not None and slug_of(error.problem) == "file-unavailable"


def _date(place: Path, view: FileView) -> None:
    """As old as the stored file: what a later copy by time goes by. A luxury on odd disks."""
    if view.committed_at is None:
        return
    moment = view.committed_at.timestamp()
    try:
        os.utime(place, (moment, moment))
    except OSError:
        return
