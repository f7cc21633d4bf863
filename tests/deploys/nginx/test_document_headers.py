"""What browsers may make of an answer: the headers that say so, wherever it comes from."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import pytest

from agent.api.files import disposition
from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from portside.web.redirects import is_saved
from portside.wire.files import StoredFile
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.every_location import ON_A_NODE, ON_BOTH, REFUSED, Case
from tests.support.nginx_process import AgentDouble, Nginx, allowing, reply

ORIGIN = "https://app.portside.test"
HSTS = "max-age=15811200"

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_PLACES = """
uploads: {private: [private]}
nodes: {s01: {roles: [storage, control]}}
tls: {mode: files, directory: certificates}
monitoring: {allow: [127.0.0.0/8]}
limits: {requests_per_address: 60, control_requests_per_address: 60}
"""
_FAILS = "        location = /fails {\n            return 500;\n        }\n\n        location / {"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def doubles(home: Path) -> Iterator[tuple[AgentDouble, AgentDouble]]:
    agent, control = AgentDouble(home / "agent.sock"), AgentDouble(home / "control.sock")
    yield agent, control
    agent.close()
    control.close()


@pytest.fixture(scope="module")
def settings(home: Path) -> Path:
    """nginx.conf of a machine that is both, with a way to an error of its own."""
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = re.sub("(?m)^nodes:.*$", "", CLUSTER) + _PLACES
    node = StorageNode("s01", parse(cluster), found, sizing.size(machine), "root")
    text = configuration(node)
    assert text.count("        location / {") == 2
    return nginx_process.write(text.replace("        location / {", _FAILS), home)


@pytest.fixture(scope="module")
def running(
    home: Path, settings: Path, doubles: tuple[AgentDouble, AgentDouble]
) -> Iterator[Nginx]:
    uploads = home / "data" / "uploads"
    for namespace in ("open", "private"):
        for kind, name in (
            ("application/octet-stream", "a.bin"),
            ("image/png", "a.png"),
            ("video/mp4", "a.mp4"),
            ("audio/flac", "a.flac"),
            ("application/pdf", "a.pdf"),
            ("image/svg+xml", "a.svg"),
        ):
            _store(uploads / namespace / name, name, kind)
    # Nobody has said what they are.
    for name in ("unsaid.png", "unsaid.atom", "unsaid.bin", "unsaid.html", "unsaid.mp4"):
        (uploads / "open" / name).write_bytes(b"0123456789")
    nginx = Nginx(settings)
    yield nginx
    nginx.stop()


@pytest.fixture
def nginx(running: Nginx, doubles: tuple[AgentDouble, AgentDouble]) -> Nginx:
    for double in doubles:
        double.answer = allowing
    return running


def _store(path: Path, name: str, kind: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"0123456789")
    said = {"name": name, "sha256": "0" * 64, "content_type": kind}
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
    path.with_name(path.name + ".attr.json").write_text(text)


def _name(case: Case) -> str:
    return f"{case.status} {case.method} {case.path[:40]} {case.location[:20]}"


def _answering(answer: bytes) -> nginx_process.Answer:
    """What nginx asks before an upload and before a download is allowed, if only to go on."""

    def answered(request: str, headers: dict[str, str]) -> bytes:
        asked = request.endswith(("/internal/preflight", "/internal/download"))
        return reply(204) if asked and answer not in (b"", REFUSED) else answer

    return answered


def _ask(
    nginx: Nginx, case: Case, port: int, sent: Mapping[str, str], source: str
) -> http.client.HTTPResponse:
    if not case.plain:
        return nginx.ask(case.method, case.path, dict(sent), source=source, port=port)[0]
    with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as connection:
        connection.sendall(f"{case.method} {case.path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection, method=case.method)
        answer.begin()
        answer.read()
        return answer


def _has_them(answer: http.client.HTTPResponse, case: Case) -> None:
    assert answer.status == case.status
    wanted = {**EVERYWHERE, "Content-Security-Policy": case.policy}
    if not case.plain:
        wanted["Strict-Transport-Security"] = HSTS
    found = {name: answer.headers.get_all(name, []) for name in wanted}
    assert found == {name: [value] for name, value in wanted.items()}
    assert not case.plain or answer.headers["Strict-Transport-Security"] is None
    once = Counter(name.lower() for name in answer.headers)
    assert {name for name, count in once.items() if count > 1} == set()


def _every_case(cases: tuple[Case, ...], nginx: Nginx, port: int, double: AgentDouble) -> None:
    for number, case in enumerate(cases):
        double.answer = allowing if case.behind is None else _answering(case.behind)
        # The limit is of an address, and each has one.
        source = f"127.0.{port % 200 + 1}.{number + 1}" if not case.often else "127.0.0.9"
        sent = {"Origin": ORIGIN, **case.headers}
        answer = _ask(nginx, case, port, sent, source)
        while case.often and answer.status not in (429, 503):
            answer = _ask(nginx, case, port, sent, source)
        try:
            _has_them(answer, case)
        except AssertionError as error:
            raise AssertionError(_name(case)) from error


def test_every_answer_of_a_node_says_what_it_may_do_in_a_browser(
    nginx: Nginx, doubles: tuple[AgentDouble, AgentDouble]
) -> None:
    _every_case(ON_BOTH + ON_A_NODE, nginx, nginx.https_port, doubles[0])


def test_every_answer_of_the_control_plane_says_what_it_may_do_in_a_browser(
    nginx: Nginx, doubles: tuple[AgentDouble, AgentDouble]
) -> None:
    _every_case(ON_BOTH, nginx, nginx.control_port, doubles[1])


def test_no_location_is_left_out(settings: Path) -> None:
    _, _, node, control = settings.read_text().split("\n    server {\n")
    for server, cases in ((node, ON_BOTH + ON_A_NODE), (control, ON_BOTH)):
        locations = set(re.findall(r"(?m)^\s+location (.*) \{$", server)) - {"= /fails"}
        # Only files and ranges of them have conditions, and only a node has files.
        assert locations - {case.location for case in cases} <= (
            set() if server is node else {"@precondition_failed", "@range_refused"}
        )


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_http_without_tls_says_so_too_and_binds_nobody_to_tls(nginx: Nginx, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.http_port, timeout=60)
    connection.request(method, "/uploads/open/a.bin", b"x" if method == "PUT" else None)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    status = 403 if method == "PUT" else 301
    # What is sent over plain HTTP anybody may have written (RFC 6797, section 7.2).
    _has_them(answer, Case("", status, "", plain=True))


@pytest.mark.parametrize(
    ("tls", "header"),
    [
        ("mode: lab", None),
        ("mode: acme, email: a@b.example", HSTS),
        ("mode: files, directory: x", HSTS),
        ("mode: files, directory: x, hsts: {max_age: 0}", "max-age=0"),
        (
            "mode: files, directory: x, hsts: {max_age: 2d, include_subdomains: true}",
            "max-age=172800; includeSubDomains",
        ),
        (
            "mode: files, directory: x, "
            "hsts: {max_age: 730d, include_subdomains: true, preload: true}",
            "max-age=63072000; includeSubDomains; preload",
        ),
    ],
)
def test_only_certificates_that_browsers_trust_bind_them_to_tls(
    tls: str, header: str | None
) -> None:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = parse(f"{CLUSTER}tls: {{{tls}}}\n")
    text = configuration(StorageNode("s01", cluster, found, sizing.size(machine), "root"))
    assert f'        on "{header or ""}";' in text


# -- shown or saved --------------------------------------------------------------------------------

KINDS = (
    *("image/png", "image/svg+xml", "IMAGE/SVG+XML", "image/x-other+xml", "video/mp4"),
    *("audio/ogg", "text/plain", "text/plain; charset=utf-8", "TEXT/PLAIN", "text/html"),
    *("application/pdf", "application/pdf; x=y", "application/xhtml+xml", "application/xml"),
    *("application/octet-stream", "application/javascript", "text/xml", "image", "imagepng"),
    *("application/atom+xml", "multipart/x-mixed-replace", "message/rfc822", "text/css"),
)
NAMES = (
    *("a.png", "a.PNG", "a.svg", "a.SVG", "a.svgz", "a.html", "a.Html", "a.htm.txt", "a.html."),
    *("a.xhtml", "a.shtml", "a.mht", "a.js", "a.mjs", "a.swf", "a.xml", "a", "a.tar.gz", "a.js.gz"),
    *("größe 1.pdf", "日本語.txt", "😀.png", 'a"b.png', "a\\b.png", "a'b;c=d,e.png", "a%20+&.png"),
    *("a b  c.txt", "e\u0301.txt", "a..png", "~._-.png"),
)
QUERIES = (
    *("", "download", "download=", "download=1", "download=0", "download=false", "download=0%0A"),
    *("x=1&download", "Download", "download=no", "download=0&download=1", "download=1&download=0"),
    *("%64ownload", "downloads", "nodownload=1", "download=%30", "download=%66alse", "&&download"),
    *("download=+0", "token=a.b.c&download=0", "download==0", "download=0=", "?download"),
)


def test_nginx_and_the_agent_show_and_save_by_one_rule(nginx: Nginx, home: Path) -> None:
    """Each kind with each name, and each query: they can't differ."""
    cases = [(kind, name, "") for kind in KINDS for name in ("a.png", "a.svg", "a.html", "a")]
    cases += [("image/png", name, "") for name in NAMES]
    cases += [("application/pdf", "a.pdf", query) for query in QUERIES]
    place = home / "data" / "uploads" / "open" / "rule.bin"
    for kind, name, query in cases:
        _store(place, name, kind)
        said = cast(StoredFile, SimpleNamespace(content_type=kind, name=name))
        answer, _ = nginx.ask("HEAD", f"/uploads/open/rule.bin?{query}")
        assert (answer.status, answer.headers["Content-Disposition"]) == (
            200,
            disposition(said, saved=is_saved(query)),
        ), (kind, name, query)
        assert quote(name, safe="") in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("name", "saved"),
    [("png", False), ("mp4", False), ("bin", True), ("html", True), ("atom", True)],
)
def test_of_what_nobody_has_said_anything_nginx_goes_by_its_guess(
    nginx: Nginx, name: str, saved: bool
) -> None:
    for query in ("", "?download"):
        answer, _ = nginx.ask("GET", f"/uploads/open/unsaid.{name}{query}")
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == ("attachment" if saved or query else None)
