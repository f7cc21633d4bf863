"""Bad input is answered before a byte of the body is read, in words, through the real nginx."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import pytest
from testinfra.host import Host

from portside.quantities import GIB
from portside.tokens import SigningKey
from tests.support.lab.requests import UPLOAD, Answer, Node, read_answer
from tests.support.minting import unsigned

STATUS_ON_THE_NODE = (
    "/opt/portside/current/venv/bin/python -I -c 'from pathlib import Path; from portside.web "
    'import unix_client; print(unix_client.get(Path("/run/portside/agent.sock"), '
    '"/api/v1/system/upload-status").decode())\''
)


def _assert_staging_empties(host: Host, before: frozenset[str]) -> None:
    for _ in range(600):
        if set(host.file("/srv/portside/staging").listdir()) == before:
            return
        time.sleep(0.1)
    assert set(host.file("/srv/portside/staging").listdir()) == before


def _answer_without_a_body(node: Node, name: str, length: int, token: str | None) -> Answer:
    with node.open_put(name, length, token) as connection:
        return read_answer(connection)


@pytest.mark.parametrize(
    ("token", "status", "slug"),
    [
        pytest.param(lambda n: None, 401, "token-missing", id="no token"),
        pytest.param(
            lambda n: n.mint(SigningKey.generate("lab")), 401, "token-unknown-key", id="forged"
        ),
        pytest.param(
            lambda n: unsigned(n.claims(), n.issuer.kid), 401, "token-algorithm", id="alg none"
        ),
        pytest.param(
            lambda n: n.mint(exp=int(time.time()) - 120), 401, "token-expired", id="expired"
        ),
        pytest.param(lambda n: n.mint(aud="s02"), 403, "token-wrong-node", id="wrong node"),
        pytest.param(lambda n: n.mint(size=5), 400, "size-mismatch", id="wrong size"),
        pytest.param(lambda n: n.mint(max_size=5), 413, "too-large", id="too large"),
    ],
)
def test_a_bad_token_is_refused_before_the_body(
    talk: Mapping[str, Node], token: Callable[[Node], str | None], status: int, slug: str
) -> None:
    node = talk["s01"]
    answer = _answer_without_a_body(node, "a.bin", 1 * GIB, token(node))
    assert (answer.status, answer.slug) == (status, slug)
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [
        ("%2Fetc%2Fcron.d%2Fx.bin", 400, "name-refused"),
        ("a%2Fb.bin", 400, "name-refused"),
        ("%5C%5Chost%5Cx.bin", 400, "name-refused"),
        ("a.bin.attr.json", 400, "name-refused"),
        ("page.html", 415, "type-refused"),
        ("logo.svg", 415, "type-refused"),
        ("feed.xml", 415, "type-refused"),
        ("ü.exe", 415, "type-refused"),
    ],
)
def test_a_bad_name_is_refused_before_the_body(
    talk: Mapping[str, Node], name: str, status: int, slug: str
) -> None:
    node = talk["s02"]
    answer = _answer_without_a_body(node, name, 1 * GIB, node.mint())
    assert (answer.status, answer.slug) == (status, slug)


def test_a_name_that_climbs_out_of_the_endpoint_stores_nothing(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], at_rest: Mapping[str, frozenset[str]]
) -> None:
    # nginx resolves the dots, so this is a request for another path, and the agent sees it raw.
    answer = talk["s02"].put("..%2F..%2F..%2Fetc%2Fcron.d%2Fx.bin", b"x")
    assert (answer.status, answer.slug) in ((400, "name-refused"), (404, "not-found"))
    assert not nodes["s02"].file("/etc/cron.d/x.bin").exists
    _assert_staging_empties(nodes["s02"], at_rest["s02"])


def test_a_taken_name_is_refused_before_the_body(talk: Mapping[str, Node]) -> None:
    node = talk["s01"]
    name = f"taken-{time.time_ns()}.bin"
    assert node.put(name, b"first", node.mint(layout="named")).status == 201
    answer = _answer_without_a_body(node, name, 1 * GIB, node.mint(layout="named"))
    assert (answer.status, answer.slug) == (409, "name-taken")
    assert node.ask("GET", f"/uploads/lab/{name}").body == b"first"


def test_a_full_disk_is_told_before_the_body(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], at_rest: Mapping[str, frozenset[str]]
) -> None:
    node, host = talk["s03"], nodes["s03"]
    # Uploads that were promised all that is free make a full disk without writing a byte. Other
    # machines of the lab are on the same disk: what is deleted there is less than what is missing.
    most, left = 16 * GIB, 2 * GIB

    def spare() -> int:
        # Asked on the node itself: the public isn't told how full its disk is.
        disk = json.loads(host.check_output(STATUS_ON_THE_NODE))["disk"]
        return int(disk["free"] - disk["reserved"] - disk["kept_free"])

    promised = []
    try:
        while (before := spare()) >= 2 * left:
            size = min(most, before - left)
            promised.append(node.open_put("promised.bin", size, node.mint(size=size)))
            # One that is put off for want of a slot or of memory never counts.
            for _ in range(100):
                if spare() < before:
                    break
                time.sleep(0.05)
        answer = _answer_without_a_body(node, "a.bin", most, node.mint(size=most))
        assert (answer.status, answer.slug) == (507, "no-space")
    finally:
        for connection in promised:
            connection.close()
    _assert_staging_empties(host, at_rest["s03"])


def test_a_cut_body_leaves_nothing(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], at_rest: Mapping[str, frozenset[str]]
) -> None:
    node, host = talk["s02"], nodes["s02"]
    name = f"cut-{time.time_ns()}.bin"
    connection = node.open_put(name, 50_000_000, node.mint(layout="named"))
    connection.sendall(bytes(20_000_000))
    connection.close()
    _assert_staging_empties(host, at_rest["s02"])
    assert node.ask("GET", f"/uploads/lab/{name}").status == 404


def test_another_method_is_refused(talk: Mapping[str, Node]) -> None:
    assert talk["s01"].ask("DELETE", f"{UPLOAD}/a.bin").status in (403, 405)
    answer = talk["s01"].ask("PUT", "/uploads/lab/a.bin", b"x")
    assert (answer.status, answer.slug) == (405, "method-not-allowed")
