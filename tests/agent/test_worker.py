"""The worker as a process of its own: what it finds, what it tells, how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from agent import settings
from agent.host.supervised_thread import SupervisedThread
from agent.index.database import Database
from agent.integrity import scrubber
from agent.integrity.scrub_schedule import Bookmark
from agent.integrity.scrubber import Scrubber
from agent.telemetry.worker_report import WorkerReport
from portside.quantities import MIB
from portside.sizing import WORKER_BASE
from portside.wire.files import StoredFile
from tests.support.agent.process import slug_of
from tests.support.agent.stored_files import access, ask, is_open
from tests.support.agent.worker_process import Worker
from tests.support.logs import text_of
from tests.support.loopback import wait_until


def _put(worker: Worker, name: str, data: bytes, **claims: Any) -> StoredFile:
    answer = worker.agent.put(name, data, worker.agent.mint(**claims))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate_json(answer.content)


def _place(worker: Worker, stored: StoredFile) -> Path:
    return worker.agent.root / "uploads" / stored.path


def _wait_until_read(worker: Worker, size: int) -> None:
    """Wait until the worker has read this much more."""
    until = _bytes_read(worker) + size
    worker.wait_for(lambda: _bytes_read(worker) >= until)


def _bytes_read(worker: Worker) -> int:
    told = Path(f"/proc/{worker.process.pid}/io").read_text()
    return int(dict(line.split(": ") for line in told.splitlines())["rchar"])


def _state(worker: Worker, stored: StoredFile) -> tuple[str, bool]:
    """The file's state, and whether it was verified."""
    query = "SELECT state, verified_at IS NOT NULL FROM files WHERE file_id = ?"
    ((state, verified),) = worker.rows(query, stored.file_id)
    return state, bool(verified)


def _flip_a_bit(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())


def _truncate(path: Path) -> None:
    os.truncate(path, 100)


def _flip_in_the_middle(path: Path) -> None:
    _flip_a_bit(path, path.stat().st_size // 2)


@contextmanager
def _injected(worker: Worker, injection: str) -> Iterator[None]:
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={injection}"]
    with subprocess.Popen(
        [*command, "-p", str(worker.process.pid)], stderr=subprocess.PIPE, text=True
    ) as strace:
        try:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            yield
        finally:
            strace.kill()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_flip_in_the_middle, "its SHA-256 is"),
        (_truncate, "it has 100 bytes instead of"),
        (Path.unlink, "its data is missing"),
    ],
)
def test_a_damaged_file_is_found_quarantined_reported_and_no_longer_served(
    worker: Worker, damage: Callable[[Path], None], reason: str
) -> None:
    sound = _put(worker, "sound.bin", os.urandom(3 * MIB + 11))
    empty = _put(worker, "empty.bin", b"")
    damaged = _put(worker, "damaged.bin", os.urandom(3 * MIB + 11))
    damage(_place(worker, damaged))
    worker.start()

    worker.wait_for(lambda: _state(worker, damaged)[0] == "QUARANTINED")
    worker.wait_for(lambda: worker.report().scrub.damaged == 1)
    worker.wait_for(lambda: _state(worker, sound) == _state(worker, empty) == ("COMMITTED", True))
    (told,) = worker.logged("stored file is damaged")
    assert told["level"] == "critical"
    assert told["file_id"] == damaged.file_id
    assert told["reason"].startswith(reason)
    assert not _place(worker, damaged).exists()
    assert worker.agent.visible_files() == sorted([_place(worker, empty), _place(worker, sound)])

    # The worker's report may be a few seconds older than the move.
    worker.wait_for(lambda: worker.report().scrub.quarantined == 1)
    ready = requests.get(f"{worker.agent.url}/health/ready", timeout=60).json()
    assert ready["ready"]
    assert ready["warnings"] == [
        "files-damaged: 1 in quarantine, not served: "
        "see `portside-agent quarantine`, which settles each"
    ]
    for path in ("", "/content"):
        asked = ask(worker.agent, "GET", f"/{damaged.file_id}{path}", access(worker.agent))
        assert (asked.status_code, slug_of(asked)) == (410, "file-damaged")
    worker.wait_for(lambda: worker.report().scrub.bytes_read >= sound.size)


def test_a_file_that_can_not_be_read_is_quarantined(worker: Worker) -> None:
    worker.start()
    with _injected(worker, "preadv2:error=EIO:when=1"):
        stored = _put(worker, "a.bin", os.urandom(2 * MIB))
        worker.wait_for(lambda: _state(worker, stored)[0] == "QUARANTINED")
    (told,) = worker.logged("stored file is damaged")
    assert told["reason"] == "its data can't be read: Input/output error"


def test_an_error_that_passes_condemns_nothing(worker: Worker) -> None:
    worker.start()
    with _injected(worker, "preadv2:error=ENOMEM:when=1"):
        stored = _put(worker, "a.bin", os.urandom(2 * MIB))
        worker.wait_for(lambda: worker.logged("file is not judged"))
    assert _state(worker, stored) == ("COMMITTED", False)


def test_a_disk_that_is_not_there_condemns_nothing(worker: Worker) -> None:
    stored = _put(worker, "a.bin", os.urandom(MIB))
    worker.start()
    worker.wait_for(lambda: _state(worker, stored) == ("COMMITTED", True))
    # As after an unmount: neither marker nor files, while the index is still held open.
    (worker.agent.root / ".portside-root").unlink()
    _place(worker, stored).unlink()
    worker.change("UPDATE files SET verified_at = NULL")
    worker.wait_for(lambda: worker.logged("file is not judged"))
    assert _state(worker, stored) == ("COMMITTED", False)
    assert worker.logged("stored file is damaged") == []


def test_a_file_deleted_while_it_is_read_is_no_damage(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(scrub_rate=1 * MIB)
    stored = _put(worker, "a.bin", os.urandom(6 * MIB))
    worker.start()
    worker.wait_for(lambda: is_open(worker.process.pid, _place(worker, stored)))
    worker.change("UPDATE files SET state = 'DELETING' WHERE file_id = ?", stored.file_id)
    _flip_a_bit(_place(worker, stored), 5 * MIB)
    _place(worker, stored).unlink()
    other = _put(worker, "b.bin", b"next")
    worker.wait_for(lambda: _state(worker, other) == ("COMMITTED", True))
    assert worker.report().scrub.damaged == 0
    assert worker.logged("stored file is damaged") == worker.logged("file is not judged") == []


def test_a_reading_goes_on_after_a_restart_where_it_was(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(scrub_rate=4 * MIB)
    stored = _put(worker, "a.bin", os.urandom(24 * MIB + 5))
    worker.start()
    _wait_until_read(worker, 4 * MIB)
    assert worker.stop() == []
    worker.start()
    worker.wait_for(lambda: _state(worker, stored) == ("COMMITTED", True))
    (went_on,) = worker.logged("scrubbing goes on")
    # What was read beside the file is some KiB.
    assert went_on["offset"] >= 3 * MIB
    worker.wait_for(lambda: worker.report().scrub.files_verified == 1)
    assert worker.report().scrub.bytes_read == stored.size - went_on["offset"]
    assert worker.logged("a resumed reading disagrees: reading it whole") == []


def test_damage_behind_a_bookmark_is_found_by_reading_anew(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(scrub_rate=6 * MIB)
    stored = _put(worker, "a.bin", os.urandom(18 * MIB))
    worker.start()
    _wait_until_read(worker, 4 * MIB)
    worker.stop()
    _flip_a_bit(_place(worker, stored), 0)
    worker.start()
    worker.wait_for(lambda: _state(worker, stored)[0] == "QUARANTINED")
    assert worker.logged("scrubbing goes on") == []


def test_a_bookmark_that_lies_condemns_no_sound_file(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(scrub_rate=6 * MIB)
    stored = _put(worker, "a.bin", os.urandom(18 * MIB))
    worker.start()
    _wait_until_read(worker, 4 * MIB)
    worker.stop()
    # As if other bytes had been read before the bookmark.
    worker.change(
        "UPDATE notes SET value = json_set(value, '$.offset', "
        "json_extract(value, '$.offset') - 1048576) WHERE key = 'scrub'"
    )
    worker.start()
    worker.wait_for(lambda: _state(worker, stored) == ("COMMITTED", True))
    assert len(worker.logged("a resumed reading disagrees: reading it whole")) == 1


def test_a_bookmark_is_saved_on_the_way(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(scrub_rate=8 * MIB)
    _put(worker, "a.bin", os.urandom(24 * MIB))
    # Every GiB or 30 s: too long for a test.
    monkeypatch.setattr(scrubber, "SAVE_AFTER", 2 * MIB)
    database = Database(worker.agent.root / "state" / "index.sqlite")
    reader = Scrubber(settings.load(worker.agent.home / "agent.toml"), database)
    stopping = threading.Event()
    reading = SupervisedThread("scrubbing", reader.run, stopping)
    reading.start()
    wait_until(lambda: Bookmark.parse(database.note(scrubber.NOTE)))
    report = reader.report()
    bookmark = Bookmark.parse(database.note(scrubber.NOTE))
    stopping.set()
    assert reading.ended(60)
    assert not reading.failed
    database.close()
    assert bookmark is not None
    assert bookmark.offset in range(2 * MIB, 24 * MIB, 2 * MIB)
    assert 0 < (report.progress or 0) < 1


def test_reading_keeps_to_the_rate(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(scrub_rate=4 * MIB)
    stored = _put(worker, "a.bin", os.urandom(12 * MIB))
    worker.start()
    worker.wait_for(lambda: _state(worker, stored)[1])
    ((committed, verified),) = worker.rows("SELECT committed_at, verified_at FROM files")
    # 11 of 12 pieces wait for their predecessors' quarter of a second.
    assert (verified - committed) / 1_000_000 >= 11 * 0.25


def test_what_downloads_have_in_memory_stays_there(worker: Worker) -> None:
    stored = _put(worker, "a.bin", os.urandom(8 * MIB))
    _place(worker, stored).read_bytes()
    before = _cached_bytes(_place(worker, stored))
    worker.start()
    worker.wait_for(lambda: _state(worker, stored)[1])
    # The kernel itself drops a page now and then.
    assert before > 0.95 * 8 * MIB
    assert _cached_bytes(_place(worker, stored)) > 0.95 * before


def _cached_bytes(path: Path) -> int:
    said = subprocess.check_output(["fincore", "--bytes", "--noheadings", "-o", "RES", path])
    return int(said)


def test_an_idle_worker_fits_into_its_memory(worker: Worker) -> None:
    _put(worker, "a.bin", os.urandom(8 * MIB))
    # One that was forked has the whole agent's modules in its memory.
    worker.agent.anew = True
    worker.start()
    worker.wait_for(lambda: worker.report().scrub.files_verified == 1)
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident) * 1024 < WORKER_BASE


def test_a_stop_is_heard_by_every_part_and_says_that_it_succeeded(worker: Worker) -> None:
    worker.start()
    assert worker.stop() == []


def test_a_part_that_fails_takes_the_worker_down(worker: Worker) -> None:
    worker.start()
    worker.change("DROP TABLE deliveries")
    assert worker.process.wait(timeout=60) == 1
    assert worker.logged("activity failed")[0]["activity"].startswith("deliveries-")
    assert "portside-agent: deliveries-" in text_of(worker.log)


def test_a_worker_pings_its_watchdog_while_it_works(worker: Worker, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as watchdog:
        watchdog.bind(str(tmp_path / "notify"))
        watchdog.settimeout(60)
        worker.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        worker.start()
        said = [watchdog.recv(4096).decode().strip() for _ in range(3)]
        worker.stop()
        while said[-1] != "STOPPING=1":
            said.append(watchdog.recv(4096).decode().strip())
    assert said[:3] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert set(said[3:-1]) <= {"WATCHDOG=1"}


def test_the_report_says_how_far_the_oldest_file_is_behind(worker: Worker) -> None:
    stored = _put(worker, "a.bin", b"x")
    worker.start()
    worker.wait_for(lambda: _state(worker, stored)[1])
    worker.change("UPDATE files SET verified_at = verified_at - 86400 * 1000000")
    worker.wait_for(lambda: worker.report().scrub.oldest_unverified_age_seconds > 86400)
    assert worker.report().scrub.oldest_unverified_age_seconds < 86400 + 60


def test_a_report_that_a_power_cut_emptied_counts_as_none(worker: Worker) -> None:
    worker.report_path.write_bytes(b"")
    ready = requests.get(f"{worker.agent.url}/health/ready", timeout=60).json()
    assert ready["warnings"] == [
        "worker-silent: the agent's worker has not reported yet: "
        "`systemctl status portside-agent-worker`"
    ]
    worker.start()
    assert isinstance(worker.report(), WorkerReport)
