"""`/api/v1/quarantine`: who may see what is kept out of service, and who may settle it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from agent.storage.quarantine import Kept, quarantine
from portside.wire.files import StoredFile
from portside.wire.quarantine import Quarantine
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    agent = Agent(tmp_path_factory.mktemp("quarantine-api"))
    agent.start()
    yield Node(agent)
    agent.kill()


def quarantined(node: Node, **claims: Any) -> StoredFile:
    answer = node.agent.put("a.bin", b"0123456789", node.agent.mint(**claims))
    file = StoredFile.model_validate(answer.json())
    quarantine(node.settings, node.database, file.file_id, "it smells")
    return file


def listed(node: Node, **claims: Any) -> dict[str, str]:
    answer = requests.get(
        f"{node.agent.url}/api/v1/quarantine", headers=access(node.agent, **claims), timeout=60
    )
    assert answer.status_code == 200, answer.text
    return {each.kept_id: each.reason for each in Quarantine.model_validate(answer.json()).files}


def settle(node: Node, kept_id: str, body: Any, **claims: Any) -> requests.Response:
    return requests.post(
        f"{node.agent.url}/api/v1/quarantine/{kept_id}",
        json=body,
        headers=access(node.agent, **claims),
        timeout=60,
    )


def test_a_token_shows_the_files_that_it_is_for_and_no_others(node: Node) -> None:
    mine, other = quarantined(node, namespace="isos"), quarantined(node, namespace="other")
    stray = "stray-00000000000000cc"
    Kept.of(node.settings, stray).data.write_bytes(b"whose?")
    assert listed(node)[mine.file_id] == "it smells"
    assert {mine.file_id, other.file_id, stray} <= listed(node).keys()
    assert other.file_id not in listed(node, namespace="isos")
    assert stray not in listed(node, namespace="isos")
    assert listed(node, file_id=mine.file_id).keys() == {mine.file_id}
    answer = requests.get(
        f"{node.agent.url}/api/v1/quarantine",
        headers=access(node.agent, rights=("read",)),
        timeout=60,
    )
    assert slug_of(answer) == "right-missing"


def test_verify_puts_back_and_delete_removes(node: Node) -> None:
    file = quarantined(node)
    refused = settle(node, file.file_id, {"by": "restore"}, rights=("list", "delete"))
    assert (refused.status_code, slug_of(refused)) == (403, "right-missing")
    done = settle(node, file.file_id, {"by": "restore"}, rights=("verify",))
    assert (done.status_code, done.json()["outcome"]) == (200, "restored")
    assert node.data(file).read_bytes() == b"0123456789"
    again = settle(node, file.file_id, {"by": "restore"})
    assert (again.status_code, slug_of(again)) == (404, "not-found")

    file = quarantined(node)
    for rights, slug in (("verify",), "right-missing"), (("delete",), "not-settled"):
        refused = settle(node, file.file_id, {"by": "remove"}, rights=rights)
        assert slug_of(refused) == slug
    done = settle(node, file.file_id, {"by": "remove", "accept_loss": True}, rights=("delete",))
    assert done.json()["outcome"] == "removed"
    assert file.file_id not in listed(node)


def test_bad_bytes_stay_and_a_fetch_waits_for_the_worker(node: Node) -> None:
    file = quarantined(node)
    Kept.of(node.settings, file.file_id).data.write_bytes(b"x")
    refused = settle(node, file.file_id, {"by": "restore"})
    assert (refused.status_code, slug_of(refused)) == (409, "not-settled")
    assert "1 bytes instead of 10" in refused.json()["detail"]
    ordered = settle(node, file.file_id, {"by": "fetch"})
    assert (ordered.status_code, ordered.json()["outcome"]) == (202, "ordered")
    shown = node.agent.command("quarantine", "show", file.file_id, "--no-ask")
    assert "ordered: waits to be fetched" in shown.stdout


@pytest.mark.parametrize("body", [{}, {"by": "magic"}, {"by": "restore", "x": 1}, [], "y" * 5000])
def test_what_is_no_wish_is_refused(node: Node, body: Any) -> None:
    file = quarantined(node)
    refused = settle(node, file.file_id, body)
    assert (refused.status_code, slug_of(refused)) == (400, "malformed-request")
