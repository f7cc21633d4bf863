"""Files that wait for ClamAV: served once it finds nothing, and by nothing else, whatever fails."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.cluster import identity
from agent.heartbeat.verdicts import ScanVerdicts
from agent.hooks import clamd as clamd_protocol
from agent.hooks import scanner as scanner_module
from agent.hooks.clamd import LARGEST, NoVerdict
from agent.hooks.scanner import Scanner
from agent.host.supervised_thread import SupervisedThread
from agent.index.files import Intent
from agent.index.search import look_up
from agent.index.uploads import Copied
from agent.integrity.reindex import reindex
from agent.storage import holds
from agent.telemetry.worker_report import ScanReport
from portside.backoff import Backoff
from portside.wire.files import HoldNote, StoredFile
from portside.wire.hooks import Hook, HookEvent
from tests.support.agent.clamd_process import EICAR, FILE_MAX, SIGNATURE, STREAM_MAX, Clamd
from tests.support.agent.damage import Node
from tests.support.agent.node_pairs import Source, introduce, member
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.receiver import Receiver
from tests.support.agent.stored_files import access, stored
from tests.support.agent.worker_process import Worker
from tests.support.loopback import wait_until

STRICT = "AlertExceedsMax yes"
SCANNED = {"held": ["images", "drafts"], "scanned": ["images", "drafts"]}
RELEASING = {**SCANNED, "unscannable_released": ["drafts"]}


@pytest.fixture
def make_clamd() -> Iterator[Callable[..., Clamd]]:
    """Makes daemons, not started yet, that are ended with the test."""
    made: list[Clamd] = []

    def make(*settings: str) -> Clamd:
        made.append(Clamd(*settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def clamd(make_clamd: Callable[..., Clamd]) -> Clamd:
    """A daemon that says what it doesn't look at, not started yet."""
    return make_clamd(STRICT)


def _node(tmp_path: Path, clamd: Clamd, **settings: Any) -> Node:
    return Node(Agent(tmp_path, settings={"scanner": str(clamd.address), **RELEASING, **settings}))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in this process looks again within moments."""
    monkeypatch.setattr(scanner_module, "IDLE", 0.01)
    monkeypatch.setattr(scanner_module, "PAUSES", Backoff(0.01, 0.02))


@contextmanager
def _scanning(node: Node) -> Iterator[Scanner]:
    """Its scanner at work, as in the worker."""
    stopping = threading.Event()
    scanner = Scanner(node.settings, node.database)
    thread = SupervisedThread("scans-1", scanner.run, stopping)
    thread.start()
    try:
        yield scanner
    finally:
        stopping.set()
        assert thread.ended(60)
    assert not thread.failed


def _now(node: Node, file: StoredFile) -> StoredFile:
    known = look_up(node.database, file.file_id)
    assert known is not None
    return known.stored


def _scan_of(node: Node, file: StoredFile) -> str | None:
    note = _now(node, file).hold
    return None if note is None else note.scan


def _rows(node: Node, kind: str) -> list[tuple[Any, ...]]:
    return node.database.rows(
        "SELECT file_id, state, attempts, error FROM deliveries WHERE kind = ?", (kind,)
    )


def test_a_real_node_serves_what_is_clean_and_nothing_else(
    make_worker: Callable[..., Worker], clamd: Clamd
) -> None:
    with Receiver() as receiver:
        hook = Hook(namespace="*", events=("checked",), url=receiver.origin)
        worker = make_worker(hook, scanner=str(clamd.address), **RELEASING)
        agent = worker.agent
        large, larger = b"x" * (FILE_MAX + 1), os.urandom(STREAM_MAX + 1)
        files = {
            "clean": stored(agent, "a.bin", b"clean", namespace="images"),
            "empty": stored(agent, "b.bin", b"", namespace="images"),
            "infected": stored(agent, "c.bin", EICAR, namespace="images"),
            "large": stored(agent, "d.bin", large, namespace="images"),
            "too large": stored(agent, "e.bin", larger, namespace="images"),
            "unseen": stored(agent, "f.bin", large, namespace="drafts"),
            "infected too": stored(agent, "g.bin", EICAR, namespace="drafts"),
        }
        assert all(each.held and each.hold is not None for each in files.values())
        own = stored(agent, "h.bin", b"clean", namespace="images", hold=True)
        elsewhere = stored(agent, "i.bin", EICAR, namespace="isos")

        def answers() -> dict[str, str]:
            found = {}
            for name, file in files.items():
                answer = requests.get(f"{agent.url}/f/{file.file_id}", timeout=60)
                found[name] = slug_of(answer) if answer.status_code == 403 else "served"
            return found

        def waiting() -> list[tuple[Any, ...]]:
            return worker.rows("SELECT 1 FROM deliveries WHERE kind = 'scan'")

        # Nobody listens at the scanner's address yet.
        worker.start()
        worker.wait_for(lambda: worker.report().warnings)
        (warning,) = worker.report().warnings
        assert warning.startswith("scanner-away: 7 files are held")
        assert set(answers().values()) == {"being-checked"}
        worker.kill()
        clamd.start()
        worker.start()
        worker.wait_for(lambda: not waiting())
        assert answers() == {
            "clean": "served",
            "empty": "served",
            "infected": "infected",
            "large": "being-checked",
            "too large": "being-checked",
            "unseen": "served",
            "infected too": "infected",
        }
        told = requests.get(
            f"{agent.url}/api/v1/files/{files['infected'].file_id}",
            headers=access(agent),
            timeout=60,
        ).json()
        assert told["held"] is True
        assert told["hold"]["scan"] == "infected"
        assert SIGNATURE in told["hold"]["reason"]
        for file, status in ((own, 403), (elsewhere, 200)):
            url = f"{agent.url}/f/{file.file_id}"
            assert requests.get(url, timeout=60).status_code == status
        worker.wait_for(lambda: len(receiver.received) == len(files))
        events = [HookEvent.model_validate_json(each.body) for each in receiver.received]
        assert {(each.event, each.file.file_id) for each in events} == {
            ("file.checked", each.file_id) for each in files.values()
        }

        def report() -> ScanReport:
            found = worker.report().scan
            assert found is not None
            return found

        worker.wait_for(lambda: not report().waiting)
        assert worker.report().warnings == ()
        scan = report()
        assert (scan.clean, scan.infected, scan.unscannable, scan.waiting) == (2, 2, 3, 0)
        page = requests.get(f"{agent.url}/metrics", timeout=60).text
        assert 'portside_scanned_files_total{verdict="infected"} 2.0' in page
        assert "portside_scanner_reachable 1.0" in page


def test_a_clamd_that_passes_what_it_doesnt_look_at_releases_nothing(
    tmp_path: Path, make_clamd: Callable[..., Clamd]
) -> None:
    clamd = make_clamd()
    clamd.start()
    node = _node(tmp_path, clamd)
    file = node.commit("a.bin", b"x" * (FILE_MAX + 1), namespace="images")
    with _scanning(node) as scanner:
        wait_until(lambda: "AlertExceedsMax" in scanner.report().unreachable)
        assert scanner.report().waiting == 1
    assert _scan_of(node, file) == "waiting"


def test_what_no_clamd_can_look_at_is_not_sent_to_it(tmp_path: Path, clamd: Clamd) -> None:
    """Old releases say OK to it."""
    node = _node(tmp_path, clamd)
    clamd.start()
    file = node.commit("a.bin", b"", namespace="images")
    huge = file.model_copy(update={"size": LARGEST + 1}).model_dump_json()
    node.sql("UPDATE files SET stored = ? WHERE file_id = ?", huge, file.file_id)
    with _scanning(node):
        wait_until(lambda: _scan_of(node, file) == "unscannable")
    assert _now(node, file).held


def test_what_somebody_says_meanwhile_no_scanner_takes_back(tmp_path: Path, clamd: Clamd) -> None:
    node = _node(tmp_path, clamd)
    held, released = (
        node.commit(f"{name}.bin", data, namespace="images")
        for name, data in (("a", b"clean"), ("b", EICAR))
    )
    note = HoldNote(by="ops", at=datetime.now(UTC))
    for file, is_held in ((held, True), (released, False)):
        holds.set_held(node.settings, node.database, file.file_id, held=is_held, note=note)
    clamd.start()
    with _scanning(node):
        wait_until(lambda: not _rows(node, "scan"))
    assert _now(node, held).held
    assert not _now(node, released).held
    assert _now(node, held).hold == _now(node, released).hold == note


def test_a_release_that_comes_while_it_is_scanned_counts(tmp_path: Path, clamd: Clamd) -> None:
    node = _node(tmp_path, clamd)
    file = node.commit("a.bin", EICAR, namespace="images")
    note = HoldNote(by="ops", at=datetime.now(UTC))
    holds.set_held(node.settings, node.database, file.file_id, held=False, note=note)
    verdict = note.model_copy(update={"scan": "infected"})
    settled = holds.settle_scan(
        node.settings, node.database, file.file_id, held=True, note=verdict, told=()
    )
    assert settled is None
    assert not _now(node, file).held
    assert _rows(node, "scan") == []


def test_bytes_that_are_not_the_stored_ones_are_not_released(tmp_path: Path, clamd: Clamd) -> None:
    node = _node(tmp_path, clamd)
    file = node.commit("a.bin", b"clean", namespace="images")
    node.data(file).write_bytes(b"other")
    clamd.start()
    with _scanning(node) as scanner:
        wait_until(lambda: scanner.report().failed)
    ((_, state, attempts, error),) = _rows(node, "scan")
    assert (state, attempts) == ("WAITING", 1)
    assert "not those that were stored" in error
    assert _scan_of(node, file) == "waiting"


def test_a_file_that_breaks_the_scanner_keeps_none_from_being_scanned(
    tmp_path: Path, clamd: Clamd, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = _node(tmp_path, clamd)
    clamd.start()
    bad, good = (node.commit(f"{name}.bin", name.encode(), namespace="images") for name in "ab")
    scan = clamd_protocol.scan

    def breaking(address: Any, pieces: Any, *more: Any) -> Any:
        data = list(pieces)
        if data == [b"a"]:
            raise NoVerdict("the connection broke")
        return scan(address, data, *more)

    monkeypatch.setattr(clamd_protocol, "scan", breaking)
    with _scanning(node) as scanner:
        wait_until(lambda: scanner.report().failed and not _now(node, good).held)
    assert _scan_of(node, bad) == "waiting"


def test_an_index_that_is_built_anew_knows_what_waits_and_what_was_found(
    tmp_path: Path, clamd: Clamd
) -> None:
    node = _node(tmp_path, clamd)
    clamd.start()
    infected = node.commit("a.bin", EICAR, namespace="images")
    with _scanning(node):
        wait_until(lambda: _scan_of(node, infected) == "infected")
    waiting = node.commit("b.bin", b"clean", namespace="images")
    node.database.close()
    for path in (node.agent.root / "state").glob("index.sqlite*"):
        path.unlink()
    assert reindex(node.settings).indexed == 2
    node = Node(node.agent)
    with _scanning(node):
        wait_until(lambda: _scan_of(node, waiting) == "clean")
    assert not _now(node, waiting).held
    assert (_now(node, infected).held, _scan_of(node, infected)) == (True, "infected")


@pytest.mark.parametrize("step", ["set_data_mode", "_rewrite", "_carry_out"])
def test_a_verdict_that_was_cut_short_is_finished_at_the_next_start(
    tmp_path: Path, clamd: Clamd, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    node = _node(tmp_path, clamd)
    file = node.commit("a.bin", b"clean", namespace="images")
    note = HoldNote(by="clamav", at=datetime.now(UTC), scan="clean")

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(holds, step, cut)
        holds.settle_scan(
            node.settings, node.database, file.file_id, held=False, note=note, told=()
        )
    assert node.data(file).stat().st_mode & 0o077 == 0
    assert holds.finish_holds(node.settings, node.database) == 1
    assert node.data(file).stat().st_mode & 0o777 == 0o644
    assert node.attributes(file).hold == note


@pytest.mark.parametrize(
    ("scan", "held", "is_released"), [(True, True, True), (False, True, False), (True, False, True)]
)
def test_a_copy_is_scanned_where_it_is_if_the_scanner_alone_holds_it(
    tmp_path: Path, clamd: Clamd, scan: bool, held: bool, is_released: bool
) -> None:
    node = _node(tmp_path, clamd)
    clamd.start()
    copied = Copied(
        source="s02", path="images/a.bin", committed_at=datetime.now(UTC), scan=scan and held
    )
    claims = node.agent.claims(namespace="images", hold=held)
    (node.settings.staging / "a.part").write_bytes(b"clean")
    plain = node.committer.describe(claims, "a.bin", 5, _digest(b"clean"), copied)
    node.committer.commit(Intent(claims.jti, "a.part", plain))
    with _scanning(node):
        wait_until(lambda: not _rows(node, "scan"))
    assert _now(node, plain).held is not is_released


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_node_takes_no_word_for_a_scan_but_its_own(
    make_agent: Callable[..., Agent],
) -> None:
    target = make_agent(settings=RELEASING)
    source = make_agent(node_id="s02")
    introduce(source, target, nodes=(member(source), member(target)))
    target.start()
    key = identity.load(source.home / "node.key", "s02")
    pushed = {
        (held, scan): Source(target, key, b"x", namespace="images", held=held, scan=scan)
        for held in (True, False, None)
        for scan in (True, False)
    }
    for (held, scan), each in pushed.items():
        path = each.claims.path.with_name(each.claims.name)
        each.claims = each.claims.model_copy(
            update={"path": path.parent.parent / "images" / path.name}
        )
        answer = each.put()
        assert answer.status_code == 201, answer.text
        told = StoredFile.model_validate_json(
            requests.get(
                f"{target.url}/api/v1/files/{each.claims.file_id}",
                headers=access(target),
                timeout=60,
            ).content
        )
        assert told.held is (held is not False)
        assert (told.hold is not None) is (held is True and scan)


def test_a_verdict_is_told_to_the_control_plane_until_it_was_heard(
    tmp_path: Path, clamd: Clamd
) -> None:
    node = _node(tmp_path, clamd)
    introduce(node.agent, control_url="https://c01.portside.test")
    clamd.start()
    files = [
        node.commit(f"{name}.bin", data, namespace="images")
        for name, data in (("a", b"clean"), ("b", EICAR))
    ]
    with _scanning(node):
        wait_until(lambda: not _rows(node, "scan"))
    verdicts = ScanVerdicts(node.database)
    now = 1000
    told = {each.file_id: each for each in verdicts.to_tell(now)}
    assert {(each.held, each.note.scan) for each in told.values()} == {
        (False, "clean"),
        (True, "infected"),
    }
    clean, infected = (told[each.file_id] for each in files)
    verdicts.told((clean, infected), (clean.file_id, "f" * 32), now)
    # The other one comes again, a little later.
    assert verdicts.to_tell(now) == ()
    assert [each.file_id for each in verdicts.to_tell(now + 15)] == [infected.file_id]
    note = HoldNote(by="ops", at=datetime.now(UTC))
    holds.set_held(node.settings, node.database, infected.file_id, held=False, note=note)
    assert verdicts.to_tell(now + 15) == ()
    assert _rows(node, "verdict") == []


def test_what_a_control_plane_or_an_index_has_forgotten_is_told_once_more(
    tmp_path: Path, clamd: Clamd
) -> None:
    node = _node(tmp_path, clamd)
    introduce(node.agent, control_url="https://c01.portside.test")
    clamd.start()
    file = node.commit("a.bin", b"clean", namespace="images")
    node.commit("b.bin", b"clean", namespace="images", hold=True)
    with _scanning(node):
        wait_until(lambda: not _rows(node, "scan"))
    now = int(time.time())
    verdicts = ScanVerdicts(node.database)

    def told(learned_at: datetime | None) -> list[str]:
        verdicts.learned(learned_at, now)
        said = verdicts.to_tell(now)
        heard = [each.file_id for each in said]
        verdicts.told(said, heard, now)
        return heard

    assert told(None) == [file.file_id]
    assert told(None) == []
    restored = datetime.now(UTC)
    assert told(restored) == [file.file_id]
    assert told(restored) == []
    reindex(node.settings)
    assert told(restored) == [file.file_id]
    # Of what is older, its backups know.
    node.sql("UPDATE files SET committed_at = 0")
    assert told(None) == []
