"""Downloads of private namespaces: nginx asks the agent and sends the bytes itself."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from deploys.components.nginx import REFUSAL_STATUSES, configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB, MIB
from portside.wire.files import StoredFile
from tests.support import nginx_process
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import FILES, access, ask, data_of, download, stored
from tests.support.cluster_files import CLUSTER
from tests.support.loopback import wait_until
from tests.support.nginx_process import HOST, AgentDouble, Nginx, allowing, reply

ORIGIN = "https://app.portside.test"
PRIVATE = "/uploads/private/a.bin"
OPEN = "/uploads/open/a.bin"


def _write_configuration(home: Path) -> Path:
    """nginx for a node with the private namespaces `private` and `secret`, its data in `home`."""
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = parse(f"{CLUSTER}uploads: {{private: [private, secret]}}\n")
    node = StorageNode("s01", cluster, found, sizing.size(machine), "root")
    return nginx_process.write(configuration(node), home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def double(home: Path) -> Iterator[AgentDouble]:
    agent = AgentDouble(home / "agent.sock")
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def nginx_alone(home: Path, double: AgentDouble) -> Iterator[Nginx]:
    path = _write_configuration(home)
    for name in ("private/a.bin", "private/page.svg", "secret/a.bin", "open/a.bin"):
        file = home / "data" / "uploads" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"0123456789")
    running = Nginx(path)
    yield running
    running.stop()


@pytest.fixture
def nginx(nginx_alone: Nginx, double: AgentDouble) -> Nginx:
    """nginx in front of an agent that allows everything, and has not been asked yet."""
    double.answer = allowing
    double.requests.clear()
    return nginx_alone


def test_a_public_namespace_is_served_without_asking(nginx: Nginx, double: AgentDouble) -> None:
    answer, body = nginx.ask("GET", f"{OPEN}?token=x")
    assert (answer.status, body) == (200, b"0123456789")
    assert double.requests == []


@pytest.mark.parametrize("path", [PRIVATE, "/uploads/secret/a.bin"])
def test_a_private_namespace_is_served_when_the_agent_says_so(
    nginx: Nginx, double: AgentDouble, path: str
) -> None:
    answer, body = nginx.ask("GET", f"{path}?token=t.o.k", {"Authorization": "Bearer b"})
    assert (answer.status, body) == (200, b"0123456789")
    assert answer.headers.get_all("Cache-Control") == ["private, no-store"]
    assert answer.headers["Accept-Ranges"] == "bytes"
    [(request, headers)] = double.requests
    assert request == "GET /internal/download"
    assert headers["x-original-uri"] == f"{path}?token=t.o.k"
    assert headers["authorization"] == "Bearer b"


def test_ranges_and_heads_of_a_private_file(nginx: Nginx) -> None:
    part, body = nginx.ask("GET", PRIVATE, {"Range": "bytes=2-4"})
    assert (part.status, body, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert part.headers["Cache-Control"] == "private, no-store"
    head, body = nginx.ask("HEAD", PRIVATE)
    assert (head.status, body, head.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize("path", [PRIVATE, OPEN])
def test_a_range_past_the_end_is_a_problem(nginx: Nginx, path: str) -> None:
    answer, body = nginx.ask("GET", path, {"Range": "bytes=10-"})
    assert (answer.status, json.loads(body)["type"]) == (416, "urn:portside:problem:range-refused")
    assert answer.headers["Content-Range"] == "bytes */10"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("status", REFUSAL_STATUSES)
def test_a_refusal_comes_in_the_agents_words(
    nginx: Nginx, double: AgentDouble, status: int
) -> None:
    double.answer = lambda request, headers: reply(
        403,
        X_Refusal_Status=str(status),
        X_Refusal='{"type":"urn:portside:problem:x"}',
        WWW_Authenticate='Bearer realm="portside"',
    )
    answer, body = nginx.ask("GET", PRIVATE, {"Origin": ORIGIN})
    assert (answer.status, body) == (status, b'{"type":"urn:portside:problem:x"}')
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="portside"'
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Cache-Control"] is None


@pytest.mark.parametrize(
    "path",
    [
        PRIVATE,
        "/uploads/private/missing.bin",
        "/uploads/private/",
        "/uploads/private/folder",
        "/uploads/private/page.svg",
        "/uploads//private/a.bin",
        "/uploads/./private/a.bin",
        "/uploads/open/../private/a.bin",
        "/uploads/%70rivate/a.bin",
        "/uploads/private%2fa.bin",
        "/uploads%2Fprivate%2Fa.bin",
        "/uploads/open/%2e%2e/private/a.bin",
    ],
)
def test_what_the_agent_refuses_shows_not_even_whether_it_is_there(
    nginx: Nginx, double: AgentDouble, home: Path, path: str
) -> None:
    (home / "data" / "uploads" / "private" / "folder").mkdir(exist_ok=True)
    double.answer = lambda request, headers: reply(403, X_Refusal_Status="401", X_Refusal="{}")
    answer, body = nginx.ask("GET", path)
    assert (answer.status, body) == (401, b"{}")


@pytest.mark.parametrize("path", ["/uploads/private", "/uploads/privat", "/uploads/private.bin"])
def test_beside_a_private_namespace_there_is_nothing(nginx: Nginx, path: str) -> None:
    assert nginx.ask("GET", path)[0].status == 404


@pytest.mark.parametrize(
    "path",
    ["/uploads/private/a.bin.attr.json", "/uploads/private/.hidden", "/uploads/private/%2ehidden"],
)
def test_the_nodes_own_files_are_nobodys(nginx: Nginx, double: AgentDouble, path: str) -> None:
    assert nginx.ask("GET", path)[0].status == 404
    assert double.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/_download",
        "/_stored/open/a.bin",
        "/internal/download",
        "/api/%2e%2e/internal/download",
        "/uploads/../_stored/private/a.bin",
    ],
)
def test_what_is_internal_is_never_reached_from_outside(
    nginx: Nginx, double: AgentDouble, path: str
) -> None:
    assert nginx.ask("GET", path)[0].status == 404
    assert double.requests == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_private_files_are_only_read(nginx: Nginx, method: str) -> None:
    answer, body = nginx.ask(method, PRIVATE, body=b"x")
    assert (answer.status, json.loads(body)["type"]) == (
        405,
        "urn:portside:problem:method-not-allowed",
    )


def test_a_browser_may_ask_for_a_private_file_with_a_token(
    nginx: Nginx, double: AgentDouble
) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answer, _ = nginx.ask("OPTIONS", PRIVATE, headers)
    assert (answer.status, double.requests) == (204, [])
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_what_a_browser_could_run_is_saved_also_when_it_is_private(nginx: Nginx) -> None:
    answer, _ = nginx.ask("GET", "/uploads/private/page.svg")
    assert answer.headers["Content-Disposition"] == "attachment"


def test_content_by_id_is_sent_by_nginx_under_the_agents_headers(
    nginx: Nginx, double: AgentDouble
) -> None:
    double.answer = lambda request, headers: reply(
        200,
        X_Accel_Redirect="/_stored/private/a%2ebin",
        Content_Type="image/png",
        Content_Disposition="inline; filename=\"a.png\"; filename*=UTF-8''a.png",
        Cache_Control="private, no-store",
    )
    answer, body = nginx.ask("GET", f"{FILES}/x/content?token=t", {"Range": "bytes=-3"})
    assert (answer.status, body) == (206, b"789")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers.get_all("Content-Disposition") == [
        "inline; filename=\"a.png\"; filename*=UTF-8''a.png"
    ]
    assert answer.headers.get_all("Cache-Control") == ["private, no-store"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Accel-Redirect"] is None
    past, body = nginx.ask("GET", f"{FILES}/x/content", {"Range": "bytes=10-"})
    assert (past.status, json.loads(body)["status"]) == (416, 416)
    head, body = nginx.ask("HEAD", f"{FILES}/x/content")
    assert (head.status, body, head.headers["Content-Length"]) == (200, b"", "10")


def test_an_agent_that_can_not_be_asked_serves_nothing_and_no_token_is_logged(
    tmp_path: Path,
) -> None:
    path = _write_configuration(tmp_path)
    folder = tmp_path / "data" / "uploads" / "private"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"0123456789")
    unreadable = tmp_path / "data" / "uploads" / "open"
    unreadable.mkdir()
    # A loop of links can't be opened by anyone, not even root: an error of the worst kind.
    (unreadable / "a.bin").symlink_to("a.bin")
    running = Nginx(path)
    try:
        for asked in (PRIVATE, f"{FILES}/x/content", f"{FILES}/x/verify", "/uploads/secret/x"):
            answer, body = running.ask("GET", f"{asked}?token=s3cret", {"Referer": "/?s3cret"})
            assert (answer.status, json.loads(body)["type"]) == (
                503,
                "urn:portside:problem:unavailable",
            )
            assert answer.headers["Retry-After"] == "5"
        assert running.ask("GET", f"{OPEN}?token=s3cret")[0].status >= 400
        wait_until(lambda: (tmp_path / "access.log").read_text().count("\n") >= 5)
    finally:
        running.stop()
    assert "s3cret" not in (tmp_path / "access.log").read_text()
    assert "s3cret" not in (tmp_path / "error.log").read_text()


def test_a_verification_may_take_longer_than_any_other_answer(tmp_path: Path) -> None:
    path = _write_configuration(tmp_path)
    settings = path.read_text()
    assert "    sendfile on;" in settings
    path.write_text(settings.replace("    sendfile on;", "    sendfile on; proxy_read_timeout 1s;"))
    agent = AgentDouble(tmp_path / "agent.sock")

    def slowly(request: str, headers: dict[str, str]) -> bytes:
        time.sleep(1.5)
        return reply(200, "{}")

    agent.answer = slowly
    running = Nginx(path)
    try:
        assert running.ask("POST", f"{FILES}/{'0' * 32}/verify")[0].status == 200
    finally:
        running.stop()
        agent.close()


# -- with the agent itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Nginx]]:
    """A real agent behind nginx, with the same data."""
    place = tmp_path_factory.mktemp("node")
    path = _write_configuration(place)
    agent = Agent(
        tmp_path_factory.mktemp("agent"),
        root=place / "data",
        settings={"private": ["private", "secret"]},
        socket_path=place / "agent.sock",
    )
    agent.start()
    running = Nginx(path)
    yield agent, running
    running.stop()
    agent.kill()


def _url(file: StoredFile) -> str:
    return f"/uploads/{quote(str(file.path))}"


def test_a_signed_url_opens_one_private_file(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    file, other = (stored(agent, "größe 1.bin", b"0123456789", namespace="private") for _ in "ab")
    url = _url(file)
    token = download(agent, file.path)
    answer, body = nginx.ask("GET", f"{url}?token={token}", {"Range": "bytes=1-2"})
    assert (answer.status, body) == (206, b"12")
    by_right, body = nginx.ask("GET", url, access(agent, rights=("read",)))
    assert (by_right.status, body) == (200, b"0123456789")
    encoded, _ = nginx.ask("GET", f"{url}?utm=x&token={token.replace('.', '%2E')}%0A")
    assert encoded.status == 200
    without, body = nginx.ask("GET", url)
    assert "the parameter 'token'" in json.loads(body)["detail"]
    assert (without.status, json.loads(body)["type"]) == (401, "urn:portside:problem:token-missing")
    assert without.headers["WWW-Authenticate"] == 'Bearer realm="portside"'
    expired = download(agent, file.path, exp=int(time.time()) - 3600)
    late, body = nginx.ask("GET", f"{url}?token={expired}")
    assert (late.status, json.loads(body)["type"]) == (401, "urn:portside:problem:token-expired")
    wrong, body = nginx.ask("GET", f"{_url(other)}?token={token}")
    assert (wrong.status, json.loads(body)["type"]) == (403, "urn:portside:problem:right-missing")
    assert json.loads(body)["instance"] == _url(other)
    missing, body = nginx.ask("GET", f"{url}x?token={download(agent, f'{file.path}x')}")
    assert (missing.status, json.loads(body)["type"]) == (404, "urn:portside:problem:not-found")


def test_a_folder_is_shown_to_nobody(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    file = stored(agent, "a.bin", b"x", namespace="private")
    folder = str(file.path.parent)
    for headers, token in (
        ({}, download(agent, folder)),
        ({}, download(agent, f"{folder}/")),
        (access(agent), None),
    ):
        for url in (f"/uploads/{folder}", f"/uploads/{folder}/"):
            query = "" if token is None else f"?token={token}"
            answer, body = nginx.ask("GET", url + query, headers)
            assert answer.status in (301, 403)
            assert b"<a " not in body


def test_content_by_id_comes_through_nginx(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    file = stored(agent, "größe+1.txt", b"0123456789", namespace="private", layout="named")
    where = f"{FILES}/{file.file_id}/content"
    answer, body = nginx.ask("GET", f"{where}?token={download(agent, file.path)}")
    assert (answer.status, body) == (200, b"0123456789")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe%2B1.txt" in answer.headers["Content-Disposition"]
    refused, body = nginx.ask("GET", where)
    assert (refused.status, json.loads(body)["type"]) == (401, "urn:portside:problem:token-missing")


def test_a_file_deleted_in_the_middle_is_downloaded_to_its_end(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    data = os.urandom(24 * MIB)
    file = stored(agent, "a.bin", data, namespace="secret")
    token = download(agent, file.path)
    connection = http.client.HTTPConnection(HOST)
    secured: ssl.SSLSocket = nginx.connect()
    connection.sock = secured
    connection.request("GET", f"{_url(file)}?token={token}")
    answer = connection.getresponse()
    received = answer.read(64 * 1024)
    assert ask(agent, "DELETE", f"/{file.file_id}", access(agent)).status_code == 204
    assert not data_of(agent, file).exists()
    assert received + answer.read() == data
    connection.close()
    gone, body = nginx.ask("GET", f"{_url(file)}?token={token}")
    assert (gone.status, json.loads(body)["status"]) == (410, 410)
    assert (gone.headers["ETag"], gone.headers["Cache-Control"]) == (None, "no-store")
    by_id = ask(agent, "GET", f"/{file.file_id}/content", access(agent))
    assert (by_id.status_code, slug_of(by_id)) == (410, "file-deleted")


# -- how a file is served -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "claims", "kind", "way"),
    [
        ("größe.txt", "größe".encode(), {}, "text/plain; charset=utf-8", "inline"),
        ("long.txt", ("x" + 9000 * "ä").encode(), {}, "text/plain; charset=utf-8", "inline"),
        ("latin.txt", "größe".encode("latin-1"), {}, "text/plain", "inline"),
        ("utf16.txt", "größe".encode("utf-16"), {}, "text/plain", "inline"),
        ("surrogate.txt", b"\xed\xa0\x80", {}, "text/plain", "inline"),
        ("cut.txt", b"gr\xc3", {}, "text/plain", "inline"),
        ("empty.txt", b"", {}, "text/plain; charset=utf-8", "inline"),
        ("a.csv", "ü,1".encode(), {}, "text/csv; charset=utf-8", "attachment"),
        ("a.gguf", b"GGUF", {}, "application/octet-stream", "attachment"),
        # What its token says it is, whatever its name ends in.
        ("a.bin", b"{}", {"content_type": "application/json"}, "application/json", "attachment"),
        ("b.bin", b"x", {"content_type": "video/mp4"}, "video/mp4", "inline"),
        ("c.bin", b"x", {"content_type": "text/html"}, "text/html; charset=utf-8", "attachment"),
        ("d.bin", b"x", {"content_type": "image/svg+xml"}, "image/svg+xml", "attachment"),
    ],
)
def test_a_file_is_served_as_what_its_receipt_says(
    node: tuple[Agent, Nginx],
    name: str,
    data: bytes,
    claims: dict[str, str],
    kind: str,
    way: str,
) -> None:
    agent, nginx = node
    file = stored(agent, name, data, namespace="open", **claims)
    for url in (_url(file), f"/f/{file.file_id}/x", f"{FILES}/{file.file_id}/content"):
        answer, body = nginx.ask("GET", url)
        assert (answer.status, body) == (200, data)
        assert answer.headers.get_all("Content-Type") == [kind]
        [disposition] = answer.headers.get_all("Content-Disposition", [])
        assert disposition.startswith(f"{way}; filename=")
        assert disposition.endswith(f"; filename*=UTF-8''{quote(name)}")
        assert disposition.isascii()
        saved, _ = nginx.ask("GET", f"{url}?download")
        assert saved.headers["Content-Disposition"].startswith("attachment; ")


def test_a_head_has_the_headers_of_a_get(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    shown = stored(agent, "a.txt", b"0123456789", namespace="open")
    hidden = stored(agent, "a.txt", b"0123456789", namespace="private")
    token = download(agent, hidden.path)
    its_own = {"Date", "X-Request-ID"}
    for url in (
        *(_url(shown), f"/f/{shown.file_id}/x", f"{FILES}/{shown.file_id}/content"),
        *(f"{_url(hidden)}?token={token}", f"/f/{hidden.file_id}/x?token={token}"),
    ):
        for headers in ({}, {"Range": "bytes=2-4"}, {"Range": "bytes=99-"}):
            got, head = (nginx.ask(method, url, headers)[0] for method in ("GET", "HEAD"))
            assert got.status == head.status
            of_get, of_head = (
                {(name, value) for name, value in each.headers.items() if name not in its_own}
                for each in (got, head)
            )
            assert of_get == of_head
            assert {"Content-Length", "ETag"} <= set(head.headers)


def test_ranges_are_served_however_they_are_asked_for(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    file = stored(agent, "a.bin", bytes(range(250)) * 40, namespace="open")
    empty = stored(agent, "empty.bin", b"", namespace="open")
    weak = f'W/"{file.sha256}"'
    strong = f'"{file.sha256}"'
    many = ",".join(f"{20 * at}-{20 * at}" for at in range(400))
    again = ",".join(["0-"] * 400)
    for headers, status in (
        ({"Range": "bytes=5-"}, 206),
        ({"Range": "bytes=-5"}, 206),
        ({"Range": "bytes=-99999"}, 206),
        ({"Range": "bytes=5-", "If-Range": strong}, 206),
        ({"Range": "bytes=5-", "If-Range": weak}, 200),
        ({"Range": "bytes=5-", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=5-", "Accept-Encoding": "gzip"}, 206),
        ({"Range": "lines=5-"}, 200),
        ({"Range": f"bytes={many}"}, 206),
        # More than the whole: it is sent once.
        ({"Range": f"bytes={again}"}, 200),
        ({"If-None-Match": strong}, 304),
        ({"If-None-Match": weak}, 304),
        ({"If-Match": '"other"'}, 412),
        ({"Range": "bytes=10000-"}, 416),
    ):
        answer, _ = nginx.ask("GET", _url(file), headers)
        assert (answer.status, headers) == (status, headers)
        assert answer.headers["ETag"] == (None if status == 412 else strong)
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-5"}):
        answer, body = nginx.ask("GET", _url(empty), headers)
        assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_a_url_finds_its_file_however_it_is_written(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    public, private = (
        stored(agent, "größe (1)+.txt", b"0123456789", namespace=namespace, layout="named")
        for namespace in ("open", "private")
    )
    token = download(agent, private.path)
    for path in (
        quote(public.name),
        quote(public.name).lower(),
        quote(public.name, safe="+"),
        quote(unicodedata.normalize("NFD", public.name)),
        quote(quote(public.name)),
        quote("größe (1)+.txt"),
        quote("größe (1)+.txt", safe="()+"),
    ):
        answer, body = nginx.ask("GET", f"/uploads/open/{path}", {"Range": "bytes=2-4"})
        assert (answer.status, body) == (206, b"234"), path
        answer, body = nginx.ask("GET", f"/uploads/private/{path}?token={token}")
        assert (answer.status, body) == (200, b"0123456789"), path
        assert nginx.ask("GET", f"/uploads/private/{path}")[0].status == 401
    for path in (f"open//{quote(public.name)}", f"open/{quote(public.name)}/"):
        assert nginx.ask("GET", f"/uploads/{path}")[1] == b"0123456789"
    # By a detour nobody comes to what is private, nor hears that it is there.
    for path in (f"%2570rivate/{public.name}", f"open/%252e%252e/private/{public.name}"):
        target = quote(path, safe="/%")
        for query in ("", f"?token={token}"):
            expected = 200 if query and path.startswith("%2570") else 404
            assert nginx.ask("GET", f"/uploads/{target}{query}")[0].status == expected


def test_a_private_download_that_broke_off_goes_on(node: tuple[Agent, Nginx]) -> None:
    agent, nginx = node
    file = stored(agent, "a.bin", b"0123456789", namespace="private")
    late = download(agent, file.path, exp=int(time.time()) - 3600)
    url = f"{_url(file)}?token={late}"
    assert nginx.ask("GET", url, {"Range": "bytes=5-"})[0].status == 401
    rest = {"Range": "bytes=5-", "If-Range": f'"{file.sha256}"'}
    answer, body = nginx.ask("GET", url, rest)
    assert (answer.status, body) == (206, b"56789")
