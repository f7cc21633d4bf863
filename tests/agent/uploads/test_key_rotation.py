"""Keys are replaced under a running agent, and no upload notices: issuer's and node's own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import requests

from portside import durable_file
from portside.tokens import SigningKey, key_id, verify_receipt
from portside.wire.files import StoredFile
from portside.wire.heartbeat import Roster, RosterNode
from portside.wire.keys import Keyset, PublicKey
from tests.support.agent.process import NODE_ID, Agent, slug_of
from tests.support.loopback import wait_until

AHEAD = timedelta(hours=1)


def _trust(agent: Agent, *keys: PublicKey) -> None:
    content = Keyset(keys=keys).model_dump_json(exclude_none=True).encode()
    durable_file.replace(agent.home / "keyset.json", content, 0o640)


def _tell(agent: Agent, version: int, key: PublicKey, *others: PublicKey) -> None:
    node = RosterNode(
        node_id=NODE_ID,
        public_base_url=agent.url,
        upload_api_url=agent.url,
        key=key,
        other_keys=others,
    )
    roster = Roster(cluster="lab", version=version, nodes=(node,))
    content = roster.model_dump_json(exclude_none=True).encode()
    durable_file.replace(agent.home / "roster.json", content, 0o640)


def _identity(agent: Agent, *words: str) -> PublicKey:
    said = subprocess.run(
        [
            *(sys.executable, "-c", "from agent.commands.cli import main; main()", "identity"),
            *(*words, "--config", str(agent.home / "agent.toml")),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return PublicKey.model_validate_json(said)


def _keys_told(agent: Agent) -> Keyset:
    return Keyset.model_validate(requests.get(f"{agent.url}/api/v1/system/keys", timeout=60).json())


def test_uploads_go_on_while_the_issuers_and_the_nodes_keys_are_replaced(agent: Agent) -> None:
    before = agent.issuer.public()
    following, own = SigningKey.generate(agent.issuer.owner), agent.node_keys.keys[0]
    answers: list[requests.Response] = []
    stopping = threading.Event()

    def upload() -> None:
        for number in itertools.count():
            answers.append(agent.put(f"{number}.bin", b"content"))
            if stopping.is_set():
                return

    uploads = threading.Thread(target=upload)
    uploads.start()
    try:
        wait_until(lambda: answers)
        _trust(agent, following.public(), before)
        prepared = _identity(agent, "--prepare")
        _tell(agent, 1, own, prepared)
        assert [key.kid for key in _keys_told(agent).keys] == [own.kid, prepared.kid]
        agent.issuer = following
        assert _identity(agent, f"--take-over={prepared.kid}") == prepared
        ended = own.model_copy(update={"not_after": datetime.now(UTC) + AHEAD})
        _tell(agent, 2, prepared, ended)
        _trust(
            agent,
            following.public(),
            before.model_copy(update={"not_after": datetime.now(UTC) + AHEAD}),
        )
    finally:
        stopping.set()
        uploads.join()
    answers.append(agent.put("last.bin", b"content"))
    assert {answer.status_code for answer in answers} == {201}
    receipts = [StoredFile.model_validate_json(answer.text).receipt for answer in answers]
    assert [key_id(receipts[0]), key_id(receipts[-1])] == [own.kid, prepared.kid]
    # Every one of them verifies with what the node tells of its keys, and will when one has ended.
    told = _keys_told(agent)
    for receipt in receipts:
        verify_receipt(receipt, told, datetime.now(UTC) + 2 * AHEAD)


def test_an_issuers_key_that_has_ended_or_is_gone_lets_nothing_in(agent: Agent) -> None:
    before, following = agent.issuer, SigningKey.generate(agent.issuer.owner)
    _trust(agent, following.public(), before.public(not_after=datetime.now(UTC)))
    refused = agent.put("a.bin", b"content")
    assert (refused.status_code, slug_of(refused)) == (401, "token-unknown-key")
    agent.issuer = following
    assert agent.put("a.bin", b"content").status_code == 201
    (agent.home / "keyset.json").write_text(json.dumps({"keys": "none"}))
    assert agent.put("b.bin", b"content").status_code == 201
