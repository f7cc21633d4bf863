"""Crashes and failing disks: nothing acknowledged is lost, nothing half-done is visible.

strace injects what can't be had otherwise: SIGKILL at an exact system call, and EIO from fsync.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from agent.storage.attributes import Attributes
from portside.quantities import KIB, MIB
from tests.support.agent.interruption import injected
from tests.support.agent.process import SMALL_NODE, Agent, first_line, slug_of
from tests.support.logs import text_of

DATA = os.urandom(3 * MIB + 11)


def _assert_clean_or_complete(agent: Agent) -> list[Path]:
    files = agent.visible_files()
    for path in files:
        assert path.read_bytes() == DATA
        assert path.with_name(path.name + ".attr.json").exists()
    assert agent.leftovers() == []
    return files


def test_kill_in_mid_upload_leaves_nothing_and_a_clean_start(agent: Agent) -> None:
    connection = agent.open_put("a.bin", 100 * MIB)
    connection.sendall(bytes(5 * MIB))
    agent.wait_for_uploads(1)
    agent.kill()
    assert agent.visible_files() == []
    agent.start()
    assert agent.leftovers() == []
    assert '"staging_removed": 1' in text_of(agent.log)
    assert agent.put("a.bin", DATA).status_code == 201


@pytest.mark.parametrize(
    ("call", "committed"),
    [
        # Before the intent is written the upload never was; from the intent on it is finished.
        ("ftruncate", False),
        ("rename", True),
        ("renameat2", True),
    ],
)
def test_kill_at_a_step_of_the_commit_is_finished_or_undone(
    agent: Agent, call: str, committed: bool
) -> None:
    with injected(agent, f"{call}:signal=KILL:when=1"), pytest.raises(requests.ConnectionError):
        agent.put("a.bin", DATA, agent.mint(layout="named"))
    agent.kill()
    agent.start()
    assert bool(_assert_clean_or_complete(agent)) is committed


def test_a_cut_commit_whose_name_was_taken_since_is_undone(agent: Agent) -> None:
    claims = agent.claims(layout="named")
    with injected(agent, "renameat2:signal=KILL:when=1"), pytest.raises(requests.ConnectionError):
        agent.put("a.bin", DATA, agent.mint(**dict(claims)))
    agent.kill()
    (agent.root / "uploads" / "isos" / "a.bin").write_bytes(b"put there by hand")
    agent.start()
    assert [path.read_bytes() for path in agent.visible_files()] == [b"put there by hand"]
    assert list((agent.root / "uploads").rglob("*.attr.json")) == []
    assert agent.leftovers() == []
    known = requests.get(f"{agent.url}/api/v1/files/{claims.file_id}", timeout=60)
    assert known.status_code == 404


@pytest.mark.parametrize(
    ("call", "occurrence", "committed"),
    [
        # Every sync of an upload into a new namespace, in order. The data's comes before the
        # intent: until then there was no upload, from then on it is finished.
        ("fsync", 1, False),  # the data
        ("fdatasync", 1, True),  # the intent, in the index
        ("fsync", 2, True),  # the folder of the new namespace
        ("fsync", 3, True),  # the attributes
        ("fsync", 4, True),  # the file's folder
        ("fsync", 5, True),  # staging
        ("fdatasync", 2, True),  # the commit, in the index
    ],
)
def test_kill_at_any_sync_is_finished_or_undone(
    agent: Agent, call: str, occurrence: int, committed: bool
) -> None:
    claims = agent.claims(layout="named")
    token = agent.mint(**dict(claims))
    with (
        injected(agent, f"{call}:signal=KILL:when={occurrence}"),
        pytest.raises(requests.ConnectionError),
    ):
        agent.put("a.bin", DATA, token)
    agent.kill()
    agent.start()
    files = _assert_clean_or_complete(agent)
    assert bool(files) is committed
    # What it came with is kept with it, for a control plane that forgets it.
    for path in files:
        attributes = path.with_name(path.name + ".attr.json")
        assert Attributes.model_validate_json(attributes.read_text()).upload_token == token
    known = requests.get(f"{agent.url}/api/v1/files/{claims.file_id}", timeout=60)
    assert (known.status_code == 200) is committed


def test_a_failed_fsync_fails_the_upload_and_turns_the_node_read_only(agent: Agent) -> None:
    with injected(agent, "fsync:error=EIO:when=1"):
        failed = agent.put("a.bin", DATA)
    assert (failed.status_code, slug_of(failed)) == (500, "storage-failed")
    assert agent.visible_files() == []
    assert agent.leftovers() == []
    after = agent.put("b.bin", b"x")
    assert (after.status_code, slug_of(after)) == (503, "read-only")
    ready = requests.get(f"{agent.url}/health/ready", timeout=60)
    assert ready.status_code == 503
    assert "disk-failed" in ready.json()["reasons"][0]
    assert agent.status()["accepting"] is False


def test_a_full_disk_says_so_before_the_body(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    agent = make_agent(root=small_disk)
    agent.start()
    connection = agent.open_put("a.bin", 200 * MIB)
    assert first_line(connection).startswith(b"HTTP/1.1 507 ")
    connection.close()
    assert agent.leftovers() == []
    assert agent.put("b.bin", DATA).status_code == 201


def test_what_one_upload_was_promised_is_not_promised_to_another(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    agent = make_agent(root=small_disk)
    agent.start()
    first = agent.open_put("a.bin", 30 * MIB)
    agent.wait_for_uploads(1)
    second = agent.put("b.bin", bytes(30 * MIB))
    assert (second.status_code, slug_of(second)) == (507, "no-space")
    first.sendall(bytes(30 * MIB))
    assert first_line(first).startswith(b"HTTP/1.1 201 ")
    first.close()


def test_a_disk_that_fills_up_meanwhile_discards_the_upload_and_stays_usable(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    agent = make_agent(root=small_disk)
    agent.start()
    # No fallocate, as on a filesystem that has none: space can run out on the way.
    with injected(agent, "fallocate:error=EOPNOTSUPP"):
        connection = agent.open_put("a.bin", 30 * MIB)
        agent.wait_for_uploads(1)
    hog = small_disk / "hog"
    with pytest.raises(OSError, match="No space"), hog.open("wb") as file:
        while True:
            file.write(bytes(64 * KIB))
            file.flush()
    connection.sendall(bytes(2 * MIB))
    assert first_line(connection).startswith(b"HTTP/1.1 507 ")
    connection.close()
    hog.unlink()
    agent.wait_for_uploads(0)
    assert agent.leftovers() == []
    assert agent.put("b.bin", DATA).status_code == 201


def test_a_missing_mount_is_noticed_at_the_start(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    (agent.root / ".portside-root").unlink()
    agent.launch()
    assert agent.process.wait(timeout=60) != 0
    assert "is the data filesystem mounted" in text_of(agent.log)


def test_a_full_node_says_when_to_come_back(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(sizing=replace(SMALL_NODE, upload_slots=2))
    agent.start()
    running = [agent.open_put(f"{n}.bin", 1 * MIB) for n in range(2)]
    agent.wait_for_uploads(2)
    refused = agent.put("c.bin", b"x")
    assert (refused.status_code, slug_of(refused)) == (503, "no-slot")
    assert int(refused.headers["Retry-After"]) > 0
    for connection in running:
        connection.sendall(bytes(1 * MIB))
        assert first_line(connection).startswith(b"HTTP/1.1 201 ")
        connection.close()


def test_twenty_uploads_at_once_all_succeed(agent: Agent) -> None:
    connections = [agent.open_put(f"{n}.bin", 2 * MIB) for n in range(20)]
    for half in range(2):
        for connection in connections:
            connection.sendall(bytes([half]) * MIB)
    for connection in connections:
        assert first_line(connection).startswith(b"HTTP/1.1 201 ")
        connection.close()
    assert len(agent.visible_files()) == 20
