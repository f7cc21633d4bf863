"""A crash takes answers along: whoever asks again goes on, and what was told is still so."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.causing import tus
from faults.causing.connection import Connection
from faults.causing.filesystem import Disk
from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.agent.process import Agent
from tests.support.agent.stored_files import access, stored

_UNSYNCED = """
import os, sqlite3, sys
index = sqlite3.connect(sys.argv[1])
index.execute("PRAGMA synchronous = OFF")
index.execute(
    "UPDATE files SET stored = json_set(stored, '$.held', json('true')) WHERE file_id = ?",
    (sys.argv[2],),
)
index.commit()
os._exit(0)
"""

UPLOADS = "/api/v1/uploads"
DATA = secrets.token_bytes(MIB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path, 256 * MIB) as disk:
        yield disk


@pytest.fixture
def agent(tmp_path: Path, disk: Disk) -> Iterator[Agent]:
    agent = Agent(tmp_path, root=disk.root)
    agent.start()
    yield agent
    agent.kill()


@pytest.fixture
def ask(agent: Agent) -> Iterator[Connection]:
    with Connection(agent.port) as connection:
        yield connection


@pytest.fixture
def headers(agent: Agent) -> Callable[..., dict[str, str]]:
    """The headers of one token's requests."""

    def made(**claims: Any) -> dict[str, str]:
        token = agent.mint(**claims)
        return {"Authorization": f"Bearer {token}", "Upload-Metadata": "filename YS5iaW4="}

    return made


def _restart(agent: Agent, ask: Connection) -> None:
    agent.kill()
    ask.close()
    agent.start()


def _cut_power(agent: Agent, disk: Disk, ask: Connection) -> None:
    os.killpg(agent.process.pid, signal.SIGSTOP)
    disk.cut()
    agent.kill()
    disk.power_on()
    _restart(agent, ask)


def _write_index_in_place(agent: Agent) -> None:
    """From here on SQLite's log is overwritten from its start: syncing it syncs nothing else.

    A log that grows takes the filesystem's other changes to the disk with it, and hides what
    nobody synced.
    """
    with sqlite3.connect(agent.root / "state" / "index.sqlite") as index:
        for number in range(200):
            index.execute("INSERT INTO notes VALUES (?, ?)", (str(number), "x" * 2000))
            index.commit()
        index.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    index.close()


def test_an_upload_that_was_told_of_is_there_after_a_power_cut(
    agent: Agent, disk: Disk, ask: Connection, headers: Callable[..., dict[str, str]]
) -> None:
    _write_index_in_place(agent)
    disk.sync()
    sent = headers(size=len(DATA))
    target = tus.target_in(tus.create(ask, UPLOADS, len(DATA), sent))
    _cut_power(agent, disk, ask)
    assert tus.offset_of(ask, target, sent) == 0
    answer = tus.append(ask, target, 0, memoryview(DATA), sent)
    assert StoredFile.model_validate_json(answer.body).size == len(DATA)


def test_an_offset_that_was_told_is_there_after_a_power_cut(
    agent: Agent, disk: Disk, ask: Connection, headers: Callable[..., dict[str, str]]
) -> None:
    _write_index_in_place(agent)
    sent = headers(size=len(DATA))
    target = tus.target_in(tus.create(ask, UPLOADS, len(DATA), sent))
    disk.sync()
    for end in (1000, 300_000, len(DATA) - 1):
        start = tus.offset_of(ask, target, sent)
        tus.append(ask, target, start, memoryview(DATA)[start:end], sent)
        _cut_power(agent, disk, ask)
        assert tus.offset_of(ask, target, sent) == end
    tus.append(ask, target, len(DATA) - 1, memoryview(DATA)[-1:], sent)
    assert [path.read_bytes() for path in agent.visible_files()] == [DATA]


def test_what_a_start_tells_that_a_killed_process_wrote_is_there_after_a_power_cut(
    agent: Agent, disk: Disk, ask: Connection
) -> None:
    file = stored(agent, "a.bin", b"x")
    _write_index_in_place(agent)
    disk.sync()
    agent.kill()
    ask.close()
    # As of a process that was killed between writing the log and syncing it.
    index = str(agent.root / "state" / "index.sqlite")
    subprocess.run([sys.executable, "-c", _UNSYNCED, index, file.file_id], check=True)
    agent.start()

    def told() -> int:
        target = f"/api/v1/files/{file.file_id}/content"
        return ask.ask("GET", target, access(agent)).status

    before = told()
    ask.close()
    _cut_power(agent, disk, ask)
    assert (before, told()) == (403, 403)


@pytest.mark.parametrize("layout", ["dated", "named"])
def test_a_creation_that_is_sent_again_after_the_end_tells_of_the_file(
    agent: Agent, ask: Connection, headers: Callable[..., dict[str, str]], layout: str
) -> None:
    sent = headers(size=len(DATA), layout=layout)
    target = tus.target_in(tus.create(ask, UPLOADS, len(DATA), sent))
    first = tus.append(ask, target, 0, memoryview(DATA), sent)
    _restart(agent, ask)
    again = tus.create(ask, UPLOADS, len(DATA), sent)
    assert StoredFile.model_validate_json(again.body) == StoredFile.model_validate_json(first.body)
    assert len(agent.visible_files()) == 1


def test_a_part_whose_creation_was_not_answered_is_made_again(
    agent: Agent, ask: Connection, headers: Callable[..., dict[str, str]]
) -> None:
    sent = headers(size=len(DATA))
    part = {**sent, "Upload-Concat": "partial"}
    half = len(DATA) // 2
    # Its answer is lost.
    tus.create(ask, UPLOADS, half, part)
    _restart(agent, ask)
    targets = []
    for data in (DATA[:half], DATA[half:]):
        targets.append(tus.target_in(tus.create(ask, UPLOADS, len(data), part)))
        tus.append(ask, targets[-1], 0, memoryview(data), sent)
    tus.concatenate(ask, UPLOADS, targets, sent)
    assert [path.read_bytes() for path in agent.visible_files()] == [DATA]
    assert agent.leftovers() == []
