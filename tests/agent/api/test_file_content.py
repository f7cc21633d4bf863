"""The content of files: whom the agent lets nginx send it to."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
import requests

from portside.tokens import SigningKey, mint_download
from tests.support.agent.process import NODE_ID, Agent, slug_of
from tests.support.agent.stored_files import access, ask, download, stored
from tests.support.minting import download_claims

# -- content ---------------------------------------------------------------------------------------


def test_content_is_left_to_nginx_with_what_it_can_not_know(shared_agent: Agent) -> None:
    file = stored(shared_agent, "größe.txt", b"text", content_type="text/plain")
    for method in ("GET", "HEAD"):
        answer = ask(shared_agent, method, f"/{file.file_id}/content")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["X-Accel-Redirect"] == f"/_stored/{quote(str(file.path))}"
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["Content-Disposition"] == (
            "inline; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"
        )
        assert answer.headers["Cache-Control"] == "public, no-cache"


def test_private_content_takes_a_token_for_its_path(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    other = stored(shared_agent, "a.bin", b"x", namespace="private")
    where = f"/{file.file_id}/content"
    opened = ask(shared_agent, "GET", f"{where}?token={download(shared_agent, file.path)}")
    assert opened.headers["X-Accel-Redirect"] == f"/_stored/{file.path}"
    assert opened.headers["Cache-Control"] == "private, no-store"
    past = int(time.time()) - 3600
    refused = {
        download(shared_agent, other.path): (403, "right-missing"),
        download(shared_agent, file.path, aud="s02"): (403, "token-wrong-node"),
        download(shared_agent, file.path, exp=past): (401, "token-expired"),
        "": (401, "token-malformed"),
        mint_download(
            SigningKey.generate("lab"),
            download_claims("lab", NODE_ID, {"path": str(file.path)}),
        ): (401, "token-unknown-key"),
        shared_agent.mint(): (401, "token-type"),
    }
    for token, (status, slug) in refused.items():
        # A good access token beside a bad download token doesn't make up for it.
        answer = ask(shared_agent, "GET", f"{where}?token={token}", access(shared_agent))
        assert (answer.status_code, slug_of(answer)) == (status, slug)
        assert "X-Accel-Redirect" not in answer.headers


def test_a_download_that_broke_off_goes_on_after_its_token_has_ended(shared_agent: Agent) -> None:
    """For whoever knows what came before: multi-GB files take longer than a link is good for."""
    file = stored(shared_agent, "a.bin", b"0123456789", namespace="private")
    now = int(time.time())
    late, too_late = (download(shared_agent, file.path, exp=now - ago) for ago in (3600, 100_000))
    going_on = {"Range": "bytes=5-", "If-Range": f'"{file.sha256}"'}
    for token, headers, allowed in (
        (late, going_on, True),
        (late, {"Range": "bytes=5-", "If-Match": f'"{file.sha256}"'}, True),
        (late, {"Range": "bytes=5-"}, False),
        (late, {"Range": "bytes=5-", "If-Range": f'"{"0" * 64}"'}, False),
        (too_late, going_on, False),
    ):
        expected = (204, "") if allowed else (401, "token-expired")
        uri = f"/uploads/{quote(str(file.path))}?token={token}"
        assert _may_download(shared_agent, uri, headers) == expected
        by_id = ask(shared_agent, "GET", f"/{file.file_id}/content?token={token}", headers)
        assert by_id.status_code == (200 if allowed else 401)
    other = stored(shared_agent, "b.bin", b"0123456789", namespace="private")
    uri = f"/uploads/{quote(str(other.path))}?token={late}"
    assert _may_download(shared_agent, uri, going_on) == (403, "right-missing")


def test_a_browser_saves_what_it_would_show_if_that_is_asked_for(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.txt", b"text")
    for query, way in (("", "inline"), ("?download", "attachment"), ("?download=0", "inline")):
        answer = ask(shared_agent, "GET", f"/{file.file_id}/content{query}")
        assert answer.headers["Content-Disposition"].partition(";")[0] == way


# -- nginx's question ------------------------------------------------------------------------------


def _may_download(agent: Agent, uri: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and problem of the answer to nginx's question about a request's target."""
    sent = {**(headers or {}), "X-Original-URI": uri}
    answer = requests.get(f"{agent.url}/internal/download", headers=sent, timeout=60)
    if answer.status_code == 204:
        return 204, ""
    assert (answer.status_code, answer.content) == (403, b"")
    assert "token=" not in answer.headers["X-Refusal"]
    slug = answer.headers["X-Refusal"].partition("urn:portside:problem:")[2].partition('"')[0]
    return int(answer.headers["X-Refusal-Status"]), slug


def test_a_download_token_is_good_for_its_path_however_it_is_escaped(
    shared_agent: Agent,
) -> None:
    file = stored(shared_agent, "größe+.bin", b"x", namespace="private", layout="named")
    token = download(shared_agent, file.path)
    for uri in (
        f"/uploads/{quote(str(file.path))}",
        f"/uploads/{quote(str(file.path), safe='')}",
        f"/uploads/private/{''.join(f'%{byte:02x}' for byte in file.name.encode())}",
    ):
        assert _may_download(shared_agent, f"{uri}?token={token}") == (204, "")
        assert _may_download(shared_agent, f"{uri}?a=b&token={token}") == (204, "")
        assert _may_download(shared_agent, uri, access(shared_agent)) == (204, "")
        assert _may_download(shared_agent, uri) == (401, "token-missing")


@pytest.mark.parametrize(
    "uri",
    [
        "/uploads/private/other.bin",
        "/uploads/private/a.bin/",
        "/uploads/private/a.bin.attr.json",
        "/uploads/private//a.bin",
        "/uploads/private/./a.bin",
        "/uploads/private/x/../a.bin",
        "/uploads/private/x/%2e%2e/a.bin",
        "/uploads/private/x%2f..%2fa.bin",
        "/uploads/private/a.bin%00",
        "/uploads/private/a%2Ebin%20x",
        "/uploads/private/%ff",
        "/uploads/private",
        "/uploads/",
        "/private/a.bin",
        "http://other/uploads/private/a.bin",
        "",
    ],
)
def test_a_download_token_is_good_for_nothing_else(shared_agent: Agent, uri: str) -> None:
    token = download(shared_agent, "private/a.bin")
    assert _may_download(shared_agent, f"{uri}?token={token}") == (403, "right-missing")


def test_another_spelling_opens_no_other_file(shared_agent: Agent) -> None:
    """`a+b` may be meant for `a b`, stored as `a_b`: but a file may lie at `a+b` itself."""
    token = download(shared_agent, "private/a_b.bin")
    for uri, expected in (
        ("/uploads/private/a%20b.bin", (204, "")),
        ("/uploads/private/a+b.bin", (403, "right-missing")),
        ("/uploads/private/a%2Bb.bin", (403, "right-missing")),
        ("/uploads/secret/a%20b.bin", (403, "right-missing")),
    ):
        assert _may_download(shared_agent, f"{uri}?token={token}") == expected


@pytest.mark.parametrize(
    "path", ["private/x/../a.bin", "private//a.bin", "../state/index.sqlite", "private/."]
)
def test_a_token_for_a_path_with_detours_opens_nothing(shared_agent: Agent, path: str) -> None:
    token = download(shared_agent, path)
    assert _may_download(shared_agent, f"/uploads/{path}?token={token}") == (403, "right-missing")


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({}, True),
        ({"namespace": "private", "owner": "user-7"}, True),
        ({"namespace": "isos"}, False),
        ({"owner": "someone-else"}, False),
        ({"file_id": "0" * 32}, False),
        ({"rights": ("list", "verify", "delete")}, False),
    ],
)
def test_an_access_token_opens_urls_of_the_files_it_is_for(
    shared_agent: Agent, claims: dict[str, Any], allowed: bool
) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    headers = access(shared_agent, **{"rights": ("read",), **claims})
    expected = (204, "") if allowed else (403, "right-missing")
    assert _may_download(shared_agent, f"/uploads/{file.path}", headers) == expected


def test_what_is_not_there_shows_to_nobody_whose_files_are_narrowed(shared_agent: Agent) -> None:
    headers = access(shared_agent, owner="user-7")
    answer = _may_download(shared_agent, "/uploads/private/2026", headers)
    assert answer == (403, "right-missing")
