"""A start is quick however many files there are, and finishes what was cut wherever it was cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.integrity.recovery import recover, tell_what_is_there
from agent.storage import commit
from agent.storage.opening import open_index
from agent.storage.staging import DiskFull
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent


def test_no_query_of_a_start_reads_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Agent(tmp_path))
    node.commit("a.bin", b"1")
    node.index.begin(node.intent("cut.bin", b"2"))
    node.set_state(node.commit("quarantined.bin", b"3"), "QUARANTINED")
    node.set_state(node.commit("deleting.bin", b"4"), "DELETING")
    (node.settings.staging / f"{'0a' * 16}.01234567.part").write_bytes(b"5")
    asked: list[str] = []
    for connection in (node.database._writer, node.database._reader):
        connection.set_trace_callback(asked.append)
    recover(node.settings, node.database, node.index, node.committer)
    for connection in (node.database._writer, node.database._reader):
        connection.set_trace_callback(None)
    scans = [
        (query, plan)
        for query in asked
        if query.startswith(("SELECT", "UPDATE", "DELETE")) and not query.endswith("LIMIT 1")
        for *_, plan in node.database.rows(f"EXPLAIN QUERY PLAN {query}")
        if plan.startswith("SCAN")
    ]
    assert len(asked) > 10
    assert scans == []


def _cut_commit(node: Node) -> tuple[Path, Path]:
    """Its intent and its attributes are written; where its data is, and where it is to be."""
    intent = node.intent("a.bin", b"data", layout="named")
    node.index.begin(intent)
    target = node.settings.uploads / intent.stored.path
    target.parent.mkdir()
    node.committer._write_attributes(intent).rename(node.beside(intent.stored))
    return node.settings.staging / intent.staging, target


def test_a_cut_between_link_and_unlink_is_finished(tmp_path: Path) -> None:
    node = Node(Agent(tmp_path))
    staging, target = _cut_commit(node)
    os.link(staging, target)
    recover(node.settings, node.database, node.index, node.committer)
    assert (target.read_bytes(), target.stat().st_nlink) == (b"data", 1)
    assert not staging.exists()
    assert node.index.pending() == []
    assert node.index.path_taken(target.relative_to(node.settings.uploads))  # type: ignore[arg-type]
    assert node.agent.leftovers() == []


def test_what_a_full_disk_has_no_room_for_is_left_and_the_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Agent(tmp_path))
    staging, target = _cut_commit(node)

    def full(*_: object) -> None:
        raise DiskFull("no room for a folder")

    with monkeypatch.context() as patched:
        patched.setattr(commit, "make_directories", full)
        recover(node.settings, node.database, node.index, node.committer)
    assert (len(node.index.pending()), staging.exists()) == (1, True)
    recover(node.settings, node.database, node.index, node.committer)
    assert (node.index.pending(), target.read_bytes()) == ([], b"data")


def test_a_start_makes_missing_folders_and_tells_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Node(Agent(tmp_path, settings={"private": ["secret"]}))
    stored = node.commit("a.bin", b"12345")
    node.commit("b.bin", b"678", namespace="secret")
    (node.settings.uploads / "secret").chmod(0o755)
    node.settings.quarantine.rmdir()
    open_index(node.settings).close()
    recover(node.settings, node.database, node.index, node.committer)
    tell_what_is_there(node.database)
    assert node.settings.quarantine.stat().st_mode & 0o777 == 0o700
    assert (node.settings.uploads / "secret").stat().st_mode & 0o777 == 0o750
    lines = capsys.readouterr().out.splitlines()
    (ready,) = [line for line in lines if "data directory ready" in line]
    assert f"path={node.settings.root}" in ready
    assert "writable=True" in ready
    (counted,) = [line for line in lines if "stored files counted" in line]
    assert f"bytes=8 files=2 newest={stored.committed_at:%Y-%m-%dT%H:%M}" in counted
