"""What would go with a node: by its index and its disk, and who else has it by their own word."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.commands.leaving import asked
from agent.settings import load
from agent.storage.quarantine import quarantine
from portside.wire.files import StoredFile
from portside.wire.inventory import AskedNodes, LeavingFile, LeavingPage
from tests.support.agent.damage import Node
from tests.support.agent.node_pairs import change, introduce, wait_until
from tests.support.agent.process import Agent
from tests.support.agent.worker_process import Worker

CONTENT = b"0123456789"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    agent = Agent(tmp_path_factory.mktemp("leaving"))
    agent.start()
    yield Node(agent)
    agent.kill()


def leaving(agent: Agent, *words: str) -> LeavingPage:
    done = agent.command("leaving", "--json", *words)
    assert done.returncode == 0, done.stderr
    return LeavingPage.model_validate_json(done.stdout)


def every_file(agent: Agent, limit: int = 1000) -> list[LeavingFile]:
    page = leaving(agent, "--limit", str(limit))
    found = list(page.files)
    while page.next is not None:
        page = leaving(agent, "--limit", str(limit), "--after", page.next)
        found += page.files
    return found


def put(agent: Agent, **claims: Any) -> StoredFile:
    answer = agent.put(f"{secrets.token_hex(4)}.bin", CONTENT, agent.mint(**claims))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate_json(answer.content)


def as_told(file: StoredFile, kept: str) -> LeavingFile:
    return LeavingFile.model_validate(
        {
            "kept": kept,
            "path": file.path,
            "size": file.size,
            "file_id": file.file_id,
            "sha256": file.sha256,
        }
    )


def test_nothing_on_index_or_disk_is_left_out(node: Node) -> None:
    stored, damaged, forgotten = (put(node.agent) for _ in range(3))
    quarantine(node.settings, node.database, damaged.file_id, "it smells")
    node.forget(forgotten)
    foreign = node.settings.uploads / "isos" / os.fsdecode(b"odd\n\xff.bin")
    foreign.write_bytes(b"whose?")
    told = every_file(node.agent)
    assert as_told(stored, "stored") in told
    assert as_told(damaged, "quarantined") in told
    assert as_told(forgotten, "unindexed") in told
    (odd,) = [each for each in told if each.file_id is None]
    assert (odd.kept, str(odd.path), odd.size) == ("unindexed", "isos/odd\\n\\udcff.bin", 6)
    foreign.unlink()


def test_many_files_come_page_by_page_each_once(node: Node) -> None:
    files = {put(node.agent).file_id for _ in range(5)}
    found = every_file(node.agent, limit=2)
    told = [str(each.file_id) for each in found if each.kept == "stored"]
    assert leaving(node.agent).stored == len(told)
    assert sorted(told) == sorted(set(told))
    assert files <= set(told)


def test_what_is_owed_is_told_with_what_can_be_done(node: Node) -> None:
    file = put(node.agent)
    assert leaving(node.agent).owed == ()
    rows = {
        "hooks that were not told": ("webhook", "https://app.test/"),
        "files and deletions not brought to the cold tier": ("cold", "s3://bucket"),
        "things not told to the control plane": ("receipt", "https://c01.test"),
    }
    for kind, target in rows.values():
        node.sql(
            "INSERT INTO deliveries (file_id, kind, target, state, due) "
            "VALUES (?, ?, ?, 'DEAD', 0)",
            *(file.file_id, kind, target),
        )
    node.sql(
        "INSERT INTO pushes (file_id, target, own, state, due, ordered_at) "
        "VALUES (?, 's02', 1, 'WAITING', 0, 0)",
        file.file_id,
    )
    owed = {each.what: each for each in leaving(node.agent).owed}
    assert set(owed) == {*rows, "copies to other nodes that are not made"}
    assert all(each.count == 1 and "portside-agent" in each.remedy for each in owed.values())
    node.sql("DELETE FROM deliveries")
    node.sql("DELETE FROM pushes")


def test_an_upload_that_may_go_on_is_told_until_it_is_over(node: Node) -> None:
    answer = requests.post(
        f"{node.agent.url}/api/v1/uploads",
        headers={
            "Authorization": f"Bearer {node.agent.mint()}",
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "10",
            "Upload-Metadata": "filename YS5iaW4=",
        },
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    (owed,) = leaving(node.agent).owed
    assert (owed.what, owed.count) == ("uploads under way", 1)
    assert "they end by 2" in owed.remedy
    node.sql("UPDATE uploads SET deadline = 1")
    assert leaving(node.agent).owed == ()


def test_a_lost_index_is_not_taken_for_an_empty_node(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    done = agent.command("leaving", "--json")
    assert done.returncode == 1
    assert "portside-agent reindex" in done.stderr
    assert not (agent.root / "state" / "index.sqlite").exists()


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "5000"), ("--after", "x")])
def test_odd_arguments_are_a_clear_line(node: Node, words: tuple[str, str]) -> None:
    done = node.agent.command("leaving", *words)
    assert done.returncode == 2
    assert f"argument {words[0]}: " in done.stderr


# -- other nodes -----------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    agents = []
    for node_id in ("s01", "s02"):
        home = tmp_path / node_id
        home.mkdir()
        agents.append(Agent(home, node_id=node_id))
    introduce(*agents, factor=2)
    for agent in agents:
        agent.start()
    yield agents[0], agents[1]
    for agent in agents:
        agent.kill()


def ask(agent: Agent, *files: LeavingFile) -> list[AskedNodes]:
    question = json.dumps([each.model_dump(mode="json") for each in files])
    return list(asked(load(agent.home / "agent.toml"), agent.node_key, question).files)


def test_another_node_vouches_for_a_copy_that_it_has_and_for_no_other(
    pair: tuple[Agent, Agent],
) -> None:
    source, target = pair
    copied = put(source, replicas=("s02",))
    worker = Worker(source)
    worker.start()
    wait_until(lambda: not leaving(source).owed, source, target)
    worker.stop()
    alone = put(source)
    change(source, "DELETE FROM pushes")
    first, second = ask(source, as_told(copied, "stored"), as_told(alone, "stored"))
    assert first == AskedNodes(file_id=copied.file_id, has=("s02",))
    assert second.has == ()
    assert second.said == ("s02: has no complete copy",) or "404" in second.said[0]
    # Its bytes aren't those that are asked after.
    wrong = as_told(copied, "stored").model_copy(update={"sha256": "0" * 64})
    assert ask(source, wrong)[0].has == ()
    # A row that was lost doesn't keep the attributes beside the data from asking.
    change(source, "DELETE FROM files WHERE file_id = ?", copied.file_id)
    assert ask(source, as_told(copied, "unindexed"))[0].has == ("s02",)


def test_a_node_that_is_down_vouches_for_nothing_and_is_waited_for_once(
    pair: tuple[Agent, Agent],
) -> None:
    source, target = pair
    files = [put(source) for _ in range(3)]
    target.kill()
    for told in ask(source, *(as_told(each, "stored") for each in files)):
        assert told.has == ()
        assert told.said[0].startswith("s02: not reached")


@pytest.mark.parametrize("question", ["", "{}", '[{"kept": "stored"}]', "[" * 100_000])
def test_a_question_that_is_none_is_a_clear_line(node: Node, question: str) -> None:
    with pytest.raises(ValueError, match=r"asked|JSON|Expecting"):
        asked(node.settings, node.agent.node_key, question)
