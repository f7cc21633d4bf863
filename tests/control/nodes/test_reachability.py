"""A node that can't be spoken to gets no uploads, and asking a thousand of them is spread."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import update

from control.db.models import Node
from control.nodes import reachability
from control.problems import ProblemError
from portside.operator import certificates
from tests.support.control.core import Core
from tests.support.loopback import reserved_port


class _Answers(BaseHTTPRequestHandler):
    status = 204

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: what is answered is what is tested."""


@contextmanager
def _server(status: int, tls: certificates.Pair | None, folder: Path) -> Iterator[str]:
    """A server that answers each HEAD with `status`; yields its URL."""
    handler = type("Handler", (_Answers,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            pem = folder / "server.pem"
            pem.write_bytes(tls.certificate_pem + tls.key_pem)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://localhost:{server.server_address[1]}/api/internal/upload"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def authority() -> certificates.Pair:
    return certificates.make_ca("lab")


@pytest.fixture
def trusted(authority: certificates.Pair, tmp_path: Path) -> ssl.SSLContext:
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.certificate_pem)
    return reachability.trust(path)


def _at(core: Core, url: str) -> None:
    """Every node is found at this URL."""
    core.database.write(lambda session: session.execute(update(Node).values(upload_api_url=url)))


def _problem(core: Core, trusted: ssl.SSLContext) -> str | None:
    """What is noted of s02 after every node was asked."""
    reachability.check(core.database, trusted, core.clock.now)
    core.snapshots.forget()
    return core.snapshots.current().nodes["s02"].signs.outside_problem


def test_a_node_that_answers_with_a_certificate_of_the_cluster_is_fine(
    core: Core, authority: certificates.Pair, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    with _server(204, certificates.issue(authority, "localhost"), tmp_path) as url:
        _at(core, url)
        assert _problem(core, trusted) is None


def test_another_authoritys_certificate_is_none(
    core: Core, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    stranger = certificates.issue(certificates.make_ca("other"), "localhost")
    with _server(204, stranger, tmp_path) as url:
        _at(core, url)
        assert "certificate isn't trusted" in str(_problem(core, trusted))


def test_a_certificate_for_another_name_is_none(
    core: Core, authority: certificates.Pair, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    with _server(204, certificates.issue(authority, "s01.portside.test"), tmp_path) as url:
        _at(core, url)
        assert "certificate isn't trusted" in str(_problem(core, trusted))


def test_what_asking_found_is_let_go_of_where_nobody_asks_any_more(
    core: Core, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    with _server(502, None, tmp_path) as url:
        _at(core, url)
        assert _problem(core, trusted) is not None
    reachability.forget(core.database)
    core.snapshots.forget()
    signs = core.snapshots.current().nodes["s02"].signs
    assert (signs.outside_problem, signs.failures, signs.avoid_until) == (None, 0, None)


@pytest.mark.parametrize("status", [200, 302, 502])
def test_another_answer_is_a_problem(
    core: Core, trusted: ssl.SSLContext, tmp_path: Path, status: int
) -> None:
    with _server(status, None, tmp_path) as url:
        _at(core, url)
        assert f"HEAD was answered with {status}" in str(_problem(core, trusted))


def test_silence_is_a_problem_after_two_seconds(core: Core, trusted: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _at(core, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert "no answer within 2 s" in str(_problem(core, trusted))


def test_a_node_that_cant_be_connected_to_is_left_out_until_it_answers(
    core: Core, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    core.all_report()
    _at(core, f"http://127.0.0.1:{reserved_port()}/")
    assert "Connection refused" in str(_problem(core, trusted))
    with pytest.raises(ProblemError, match="no node takes uploads now"):
        core.opens()
    with _server(204, None, tmp_path) as url:
        _at(core, url)
        assert _problem(core, trusted) is None
    assert core.opens().node_id in core.nodes.keys


def test_nodes_take_turns_and_none_is_asked_before_its_time(
    core: Core, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    asked = []
    with _server(204, None, tmp_path) as url:
        _at(core, url)
        for _ in range(8):
            found = reachability.check(
                core.database, trusted, core.clock.now, every=4, share=1 / 15
            )
            asked.append([each.node_id for each in found])
            core.clock.pass_by(1)
    assert asked == [["s01"], ["s02"], ["s03"], []] * 2
