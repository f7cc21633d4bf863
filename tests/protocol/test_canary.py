"""The file by which a deploy sees that a node works: in, back and gone, through nginx and TLS."""

from __future__ import annotations

import http.client
import inspect
import json
import secrets
import ssl
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploys.rollout import round_trip
from portside.names import CANARY
from portside.tokens import mint_access
from tests.support.cluster_files import CLUSTER
from tests.support.minting import access_claims
from tests.support.protocol.nodes import HOST, Node, node_behind_nginx


def _task(node: Node, **changed: Any) -> dict[str, Any]:
    agent, file_id = node.agent, secrets.token_hex(16)
    own: dict[str, Any] = {
        "namespace": CANARY,
        "sub": CANARY,
        "file_id": file_id,
        "layout": "named",
        "size": 8,
    }
    claims = access_claims(agent.issuer.owner, "s01", {"rights": ("delete",), "namespace": CANARY})
    task = {
        "host": HOST,
        "port": urlsplit(node.url).port,
        "authority": node.ca.read_text(),
        "upload": agent.mint(name=f"{file_id}.bin", **own),
        "access": mint_access(agent.issuer, claims),
        "file_id": file_id,
        "name": f"{file_id}.bin",
        "content": "12345678",
    }
    return {**task, **changed}


def _files(node: Node) -> list[Path]:
    return [each for each in node.agent.visible_files() if each.suffix == ".bin"]


def test_a_node_that_works_takes_serves_and_deletes_it(node: Node) -> None:
    assert round_trip.round_trip(**_task(node)) is None
    assert _files(node) == []


def test_the_check_that_fails_is_named_with_what_the_node_says(node: Node) -> None:
    wrong = _task(node, content="123456789")
    check, detail, slug = round_trip.round_trip(**wrong) or ("", "", "")
    assert (check, slug) == ("upload", "size-mismatch")
    assert detail.startswith("400 size-mismatch: ")
    check, detail, _ = round_trip.round_trip(**_task(node, access="x")) or ("", "", "")
    assert check == "deletion"
    assert detail.startswith("401 ")


def test_the_node_itself_can_run_it_by_its_own_python(node: Node) -> None:
    task = _task(node, address="127.0.0.1")
    script = (
        f"{inspect.getsource(round_trip)}\nprint(round_trip(**json.loads({json.dumps(task)!r})))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("None\n", "")


def test_who_is_not_trusted_or_not_there_is_out_of_reach(node: Node) -> None:
    port = urlsplit(node.url).port
    assert port is not None
    assert round_trip.out_of_reach(HOST, node.ca.read_text(), port) is None
    assert "certificate verify failed" in str(round_trip.out_of_reach(HOST, None, port))
    assert "refused" in str(round_trip.out_of_reach(HOST, node.ca.read_text(), 1))


def test_a_node_that_has_no_room_for_a_moment_is_asked_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    bounded = f"{CLUSTER}limits: {{requests_per_address: 60}}\n"
    with node_behind_nginx(*homes, cluster=bounded) as (node, _):
        while _status_of_a_request(node) != HTTPStatus.TOO_MANY_REQUESTS:
            pass
        assert round_trip.round_trip(**_task(node)) is None


def _status_of_a_request(node: Node) -> int:
    """What a request by someone else behind this computer's address is answered."""
    trust = ssl.create_default_context(cafile=node.ca)
    connection = http.client.HTTPSConnection(urlsplit(node.url).netloc, context=trust)
    try:
        connection.request("GET", "/api/v1/files")
        return connection.getresponse().status
    finally:
        connection.close()
