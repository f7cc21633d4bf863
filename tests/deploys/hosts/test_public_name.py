"""A name that doesn't lead to its node is told before anything is changed, with what to create."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from deploys.hosts import public_name
from deploys.hosts.judgement import Judgement
from deploys.hosts.public_name import CertificateState, Certified, misled
from tests.support.deploys.this_computer import ThisComputer

NAME = "s01.portside.test"
FINE = Judgement((), ())
OWN = ("192.0.2.7", "2001:db8::7")
DIGEST = hashlib.sha256(b"host = 's01'\n").hexdigest()


@pytest.mark.parametrize(
    ("led_to", "own", "problem"),
    [
        (OWN, OWN, ""),
        (OWN[:1], OWN, ""),
        (
            (),
            OWN,
            f"{NAME} doesn't resolve: create `{NAME}. A 192.0.2.7` and `{NAME}. AAAA 2001:db8::7`",
        ),
        (("192.0.2.8",), OWN, f"{NAME} leads to 192.0.2.8, which is none of this node's: make it"),
        # Round robin: an authority may come to either.
        (("192.0.2.7", "192.0.2.8"), OWN, f"`{NAME}. A 192.0.2.7`"),
        # An authority prefers IPv6: a stale AAAA record is what breaks.
        (("192.0.2.7", "2001:db8::8"), OWN, f"make it `{NAME}. AAAA 2001:db8::7`"),
        (("192.0.2.7", "2001:db8::8"), OWN[:1], "remove that record"),
        # Behind NAT a node doesn't know its public address; another private one is wrong.
        (("192.0.2.7",), ("10.0.0.7",), ""),
        (("10.0.0.8",), ("10.0.0.7",), f"make it `{NAME}. A 10.0.0.7`"),
        (("192.0.2.7",), ("2001:db8::7",), ""),
        ((), (), f"create an A record of {NAME} with the node's public address"),
    ],
)
def test_a_name_leads_to_its_node_alone(
    led_to: tuple[str, ...], own: tuple[str, ...], problem: str
) -> None:
    found = misled(NAME, map(ip_address, led_to), map(ip_address, own))
    assert bool(found) == bool(problem)
    assert problem in " ".join(found)


@pytest.mark.parametrize(
    ("command", "digest", "certified"),
    [("true", DIGEST, True), ("false", DIGEST, False), ("true", "0" * 64, False)],
)
def test_a_certificate_counts_by_the_settings_that_are_wanted(
    this_computer: ThisComputer, tmp_path: Path, command: str, digest: str, certified: bool
) -> None:
    (tmp_path / "acme.toml").write_text("host = 's01'\n")
    found: Certified = this_computer.get_fact(
        CertificateState, command=command, settings=str(tmp_path / "acme.toml"), digest=digest
    )
    assert found.certified is certified
    assert ip_address("127.0.0.1") not in found.addresses


def test_what_a_node_says_is_understood() -> None:
    said = ["certified", "address 192.0.2.7", "address 2001:db8::7", "debian 13"]
    assert CertificateState().process(said) == Certified(
        certified=True, addresses=frozenset(map(ip_address, OWN)), debian=13
    )


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ours" else 302)
        self.end_headers()
        self.wfile.write(b"ours\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port_80(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something that answers where a name's port 80 would."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(public_name, "HTTP", server.server_port)
        yield
        server.shutdown()


@pytest.mark.usefixtures("port_80")
def test_what_answers_at_port_80_is_the_node_itself_or_is_told() -> None:
    assert public_name.astray("localhost", "/ours", "ours\n", "") == FINE
    for path, got in (("/ours", "ours\n"), ("/theirs", "302")):
        judged = public_name.astray("localhost", path, "other\n", "")
        (line,) = judged.problems
        assert f"http://localhost{path} at 127.0.0.1 should be a file of this node" in line
        assert f"it is {got.strip()}" in line


@pytest.mark.usefixtures("port_80")
def test_a_port_at_which_nothing_listens_yet_is_no_closed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = [ip_address("127.0.0.1")]
    assert public_name.closed(NAME, here, "") == FINE
    monkeypatch.setattr(public_name, "HTTP", 1)
    assert public_name.closed(NAME, here, "") == FINE


@pytest.mark.parametrize(
    ("answers", "blamed"),
    [
        (("192.0.2.7", "2001:db8::7", "192.0.2.1", "2001:db8::1"), ()),
        (("192.0.2.1", "2001:db8::1"), OWN),
        (("192.0.2.7", "192.0.2.1", "2001:db8::1"), OWN[1:]),
        # Nothing comes back by IPv6, from nobody.
        (("192.0.2.1",), OWN[:1]),
        # Nothing goes out to port 80.
        ((), ()),
    ],
)
def test_silence_is_the_nodes_only_where_somebody_else_answers(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...], blamed: tuple[str, ...]
) -> None:
    authority = ("192.0.2.1", "2001:db8::1")
    known = {NAME: OWN, "ca.test": authority}
    monkeypatch.setattr(
        public_name, "resolve", lambda name: frozenset(map(ip_address, known[name]))
    )

    def connect(to: tuple[str, int], timeout: float, *_: object) -> socket.socket:
        if to[0] in answers:
            raise ConnectionRefusedError
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    silent = [each for each in OWN if each not in answers]
    judged = public_name.closed(NAME, map(ip_address, OWN), "ca.test")
    told = zip(blamed, judged.problems, strict=True)
    assert all(f"({each}) doesn't answer: open it" in line for each, line in told)
    assert len(judged.notes) == len(silent) - len(blamed)
    # A refused connection is an answer, if not the one that is wanted.
    judged = public_name.astray(NAME, "/ours", "ours\n", "ca.test")
    assert len(judged.problems) == len(blamed) + len(OWN) - len(silent)
    assert len(judged.notes) == len(silent) - len(blamed)
    assert all("it may be this computer's network" in note for note in judged.notes)
