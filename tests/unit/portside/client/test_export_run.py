"""An export ends, whatever fails in it; two of them never write to one list."""

from __future__ import annotations

import fcntl
import queue
import threading
from pathlib import Path, PurePosixPath

import pytest

from portside.client.control import Control
from portside.client.export.manifest import MANIFEST, Entry, Manifest
from portside.client.export.run import Export
from portside.client.progress import display
from tests.support.client.control_double import file_view

VIEW = file_view("1" * 32)


def test_a_list_that_was_just_finished_is_not_emptied_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Manifest.begun(tmp_path)
    first.__enter__().add(Entry.of(VIEW, PurePosixPath("ns/a.txt")))
    lock = fcntl.flock

    def once_the_first_has_ended(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        first.__exit__(None, None, None)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", once_the_first_has_ended)
    with Manifest.begun(tmp_path):
        assert VIEW.file_id in (tmp_path / MANIFEST).read_text()


def test_a_connection_that_cannot_be_made_ends_the_export_with_its_reason(tmp_path: Path) -> None:
    def refuse() -> Control:
        raise OSError("no handles are left")

    ended: list[BaseException] = []

    def run() -> None:
        with display("export", None, "verified") as shown, Manifest.begun(tmp_path) as lists:
            try:
                # More of them than are listed ahead.
                Export(tmp_path, refuse, None, shown).run([VIEW] * 300, lists, 2)
            except OSError as error:
                ended.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(20)
    assert [str(each) for each in ended] == ["no handles are left"]


class _EmptiedMeanwhile(queue.Queue[None]):
    """Full when something is put, and empty when it is looked into."""

    def __init__(self) -> None:
        super().__init__(1)
        self._asked = 0

    def put(self, item: None, block: bool = True, timeout: float | None = None) -> None:
        self._asked += 1
        if self._asked == 1:
            raise queue.Full
        super().put(item, block, timeout)


def test_a_thread_that_takes_the_last_file_while_all_ends_is_no_mistake(tmp_path: Path) -> None:
    def never() -> Control:
        raise AssertionError

    with display("export", None, "verified") as shown:
        export = Export(tmp_path, never, None, shown)
        export._total.stopped.set()
        waiting = _EmptiedMeanwhile()
        export._end(waiting)  # type: ignore[arg-type]
    assert waiting.get_nowait() is None
