"""Quarantine: a damaged file is out of service at once and kept, whatever happens in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from agent import settings
from agent.index.database import Database
from agent.settings import Settings
from agent.storage.quarantine import REASON_KEY, finish_quarantines, quarantine
from portside.wire.files import StoredFile
from tests.support.agent.interruption import injected
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access, ask, attributes_of, data_of, flip_a_bit, stored


def _kept(agent: Agent) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (agent.root / "quarantine").iterdir()}


def _assert_quarantined(agent: Agent, file: StoredFile, data: bytes) -> None:
    kept = _kept(agent)
    assert kept.keys() == {f"{file.file_id}.data", f"{file.file_id}.attr.json"}
    assert kept[f"{file.file_id}.data"] == data
    assert file.sha256.encode() in kept[f"{file.file_id}.attr.json"]
    answer = ask(agent, "GET", f"/{file.file_id}")
    assert (answer.status_code, slug_of(answer)) == (410, "file-damaged")


def _opened(agent: Agent) -> tuple[Settings, Database]:
    """What the worker's process has of the same node."""
    found = settings.load(agent.home / "agent.toml")
    return found, Database(found.index)


def test_another_process_takes_a_file_out_of_the_web_sides_service(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"0123456789")
    found, database = _opened(agent)
    quarantine(found, database, file.file_id, "it smells")
    _assert_quarantined(agent, file, b"0123456789")
    assert database.note(REASON_KEY + file.file_id) == "it smells"
    quarantine(found, database, file.file_id, "again")
    assert database.note(REASON_KEY + file.file_id) == "it smells"
    database.close()


def test_what_is_not_committed_is_left_alone(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    ask(agent, "DELETE", f"/{file.file_id}", access(agent))
    found, database = _opened(agent)
    quarantine(found, database, file.file_id, "too late")
    quarantine(found, database, "0" * 32, "unknown")
    database.close()
    assert ask(agent, "GET", f"/{file.file_id}").json()["type"].endswith("file-deleted")
    assert _kept(agent) == {}


def test_the_name_is_free_and_the_token_is_not(agent: Agent) -> None:
    token = agent.mint(layout="named")
    file = StoredFile.model_validate(agent.put("a.bin", b"first", token).json())
    found, database = _opened(agent)
    quarantine(found, database, file.file_id, "it smells")
    again = agent.put("a.bin", b"first", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    second = stored(agent, "a.bin", b"second", layout="named")
    # A start that looks for what a crash left must not take the new file for the old one.
    assert finish_quarantines(found, database) == 0
    database.close()
    assert data_of(agent, second).read_bytes() == b"second"
    _assert_quarantined(agent, file, b"first")


@pytest.mark.parametrize("left", ["data and attributes", "data", "attributes", "nothing"])
def test_a_start_moves_what_a_crash_left_and_no_more(agent: Agent, left: str) -> None:
    file = stored(agent, "a.bin", b"first", layout="named")
    agent.kill()
    found, database = _opened(agent)
    with database.transaction() as connection:
        connection.execute("UPDATE files SET state = 'QUARANTINED'")
    if "data" not in left:
        data_of(agent, file).unlink()
    if "attributes" not in left:
        attributes_of(agent, file).unlink()
    assert finish_quarantines(found, database) == (left != "nothing")
    database.close()
    expected = {f"{file.file_id}.data"} if "data" in left else set()
    expected |= {f"{file.file_id}.attr.json"} if "attributes" in left else set()
    assert _kept(agent).keys() == expected
    assert list(data_of(agent, file).parent.iterdir()) == []


def test_a_file_that_took_the_name_of_one_whose_data_was_missing_stays(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"first", layout="named")
    data_of(agent, file).unlink()
    found, database = _opened(agent)
    with database.transaction() as connection:
        connection.execute("UPDATE files SET state = 'QUARANTINED'")
    second = stored(agent, "a.bin", b"second", layout="named")
    assert finish_quarantines(found, database) == 0
    database.close()
    assert data_of(agent, second).read_bytes() == b"second"
    assert second.file_id in attributes_of(agent, second).read_text()
    assert _kept(agent) == {}


@pytest.mark.parametrize(
    ("call", "occurrence"),
    [
        # Every sync and change of a name after the damage was found, in order.
        ("fdatasync", 1),  # the row
        ("rename", 1),  # the attributes
        ("rename", 2),  # the data
        ("fsync", 1),  # the quarantine's folder
        ("fsync", 2),  # the file's folder
    ],
)
def test_a_kill_at_any_step_is_finished_at_the_next_start(
    agent: Agent, call: str, occurrence: int
) -> None:
    file = stored(agent, "a.bin", b"0123456789", layout="named")
    flip_a_bit(data_of(agent, file))
    with (
        injected(agent, f"{call}:signal=KILL:when={occurrence}"),
        pytest.raises(requests.ConnectionError),
    ):
        ask(agent, "POST", f"/{file.file_id}/verify", access(agent))
    agent.kill()
    agent.start()
    _assert_quarantined(agent, file, b"1123456789")
    assert agent.visible_files() == []
    assert agent.leftovers() == []
    stored(agent, "a.bin", b"new", layout="named")


def test_an_unreadable_file_is_taken_for_damaged(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"0123456789")
    with injected(agent, "preadv,preadv2:error=EIO"):
        answer = ask(agent, "POST", f"/{file.file_id}/verify", access(agent))
    assert (answer.status_code, answer.json()["intact"]) == (200, False)
    assert answer.json()["sha256"] is None
    _assert_quarantined(agent, file, b"0123456789")


def test_on_a_disk_that_is_not_there_no_file_is_condemned(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"0123456789")
    uploads: Path = agent.root / "uploads"
    uploads.rename(agent.root / "away")
    (agent.root / ".portside-root").unlink()
    answer = ask(agent, "POST", f"/{file.file_id}/verify", access(agent))
    assert (answer.status_code, slug_of(answer)) == (500, "storage-failed")
    assert _kept(agent) == {}
    (agent.root / "away").rename(uploads)
    assert ask(agent, "GET", f"/{file.file_id}").status_code == 200
