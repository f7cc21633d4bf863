"""A start is quick however many files there are: it reads no table from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.integrity.recovery import recover
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
