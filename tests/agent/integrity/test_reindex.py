"""The index is a cache: thrown away, it comes back from the attributes beside the files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial

import pytest
import requests

from agent.integrity.reindex import reindex
from agent.storage.deletion import delete
from agent.storage.quarantine import quarantine
from bench import committed_files
from portside.quantities import KIB
from portside.wire.files import StoredFile
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent, first_line, slug_of
from tests.support.logs import text_of
from tests.support.memory import peak_memory


def _reindex(agent: Agent) -> subprocess.CompletedProcess[str]:
    return agent.command("reindex")


def _remove_index(agent: Agent) -> None:
    for path in (agent.root / "state").glob("index.sqlite*"):
        path.unlink()


def _described(agent: Agent, file_id: str) -> requests.Response:
    return requests.get(f"{agent.url}/api/v1/files/{file_id}", timeout=60)


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_a_lost_index_is_rebuilt_to_the_same_answers(agent: Agent, how: str) -> None:
    token = agent.mint(layout="named")
    answers = [agent.put("a.bin", b"1", token).json(), agent.put("b.bin", b"2").json()]
    agent.kill()
    _remove_index(agent)
    if how == "broken":
        (agent.root / "state" / "index.sqlite").write_bytes(os.urandom(8192))
        done = _reindex(agent)
    else:
        agent.start()
        assert "run `portside-agent reindex`" in text_of(agent.log)
        done = _reindex(agent)
        agent.kill()
    assert (done.returncode, done.stdout) == (
        0,
        "2 files indexed, 0 deleted and 0 quarantined ones known, "
        "0 rows of missing files removed, 0 not indexed\n",
    )
    agent.start()
    for answer in answers:
        assert _described(agent, answer["file_id"]).json() == {**answer, "copies": []}
    again = agent.put("other.bin", b"3", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")


def test_it_runs_beside_a_working_agent(agent: Agent) -> None:
    kept = agent.put("a.bin", b"1").json()
    running = agent.open_put("b.bin", 5)
    agent.wait_for_uploads(1)
    assert _reindex(agent).returncode == 0
    running.sendall(b"12345")
    assert first_line(running).startswith(b"HTTP/1.1 201 ")
    running.close()
    assert _described(agent, kept["file_id"]).json() == {**kept, "copies": []}


def test_a_row_whose_file_is_gone_is_removed(agent: Agent) -> None:
    gone = agent.put("a.bin", b"1").json()
    path = agent.root / "uploads" / gone["path"]
    path.unlink()
    path.with_name(path.name + ".attr.json").unlink()
    assert "1 rows of missing files removed" in _reindex(agent).stdout
    assert _described(agent, gone["file_id"]).status_code == 404


def test_what_can_not_be_indexed_is_said_and_left_alone(agent: Agent) -> None:
    good, short, torn = (agent.put(f"{name}.bin", b"123").json() for name in ("a", "b", "c"))
    uploads = agent.root / "uploads"
    (uploads / short["path"]).write_bytes(b"1")
    (uploads / (torn["path"] + ".attr.json")).write_bytes(b"{")
    done = _reindex(agent)
    assert done.returncode == 1
    assert "1 files indexed" in done.stdout
    assert "1 bytes instead of 3" in done.stderr
    assert torn["path"] in done.stderr
    assert (uploads / torn["path"]).read_bytes() == b"123"
    assert _described(agent, good["file_id"]).status_code == 200


def test_the_token_of_a_deleted_file_stays_used(agent: Agent) -> None:
    token = agent.mint()
    answer = agent.put("a.bin", b"1", token).json()
    node = Node(agent)
    delete(node.settings, node.database, answer["file_id"])
    agent.kill()
    _remove_index(agent)
    assert "1 deleted" in _reindex(agent).stdout
    agent.start()
    assert _described(agent, answer["file_id"]).status_code != 200
    again = agent.put("a.bin", b"1", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")


def test_a_deletion_that_was_cut_is_finished_at_the_start_after(agent: Agent) -> None:
    file = StoredFile.model_validate(agent.put("a.bin", b"1").json())
    agent.kill()
    node = Node(agent)
    node.write(node.beside(file), node.attributes(file, deleted_at=file.committed_at))
    _remove_index(agent)
    assert "1 deleted" in _reindex(agent).stdout
    agent.start()
    assert agent.visible_files() == []


def test_a_quarantined_file_is_known_again_as_such(agent: Agent) -> None:
    token = agent.mint()
    answer = agent.put("a.bin", b"1", token).json()
    node = Node(agent)
    quarantine(node.settings, node.database, answer["file_id"], "a test")
    agent.kill()
    _remove_index(agent)
    done = _reindex(agent)
    assert (done.returncode, "1 quarantined" in done.stdout) == (0, True), done.stdout
    agent.start()
    assert _described(agent, answer["file_id"]).status_code != 200
    again = agent.put("a.bin", b"1", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")


@pytest.mark.parametrize("state", ["PENDING", "DELETING", "QUARANTINED", "DELETED"])
def test_rows_in_other_states_are_not_touched(make_agent: Callable[..., Agent], state: str) -> None:
    agent = make_agent()
    node = Node(agent)
    file = node.commit("a.bin", b"1")
    node.set_state(file, state)
    before = node.database.rows("SELECT * FROM files")
    assert "1 files indexed" in _reindex(agent).stdout
    assert node.database.rows("SELECT * FROM files") == before


def test_memory_does_not_grow_with_the_number_of_files(
    make_agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many rounds with few files: what each of them leaves would be as much.
    monkeypatch.setattr("agent.integrity.reindex._BATCH", 50)
    agent = make_agent()
    settings = Node(agent).settings

    def rebuild(least: int) -> None:
        assert reindex(settings).indexed >= least

    peaks = []
    for count in (100, 500):
        committed_files.make(settings, count)
        peaks.append(peak_memory(partial(rebuild, count)))
    assert peaks[1] < peaks[0] + 64 * KIB
