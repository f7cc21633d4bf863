"""A token that is revoked on its node counts no more there, whoever has it and whatever becomes of
the index."""

from __future__ import annotations

import io

import pytest
import requests

from agent import settings
from agent.commands import tokens
from portside.quantities import KIB
from tests.support.agent.process import Agent, first_line, slug_of
from tests.support.agent.stored_files import access, ask, bearer, download, stored


def _revoke(agent: Agent, named: str, stdin: str = "") -> str:
    """As `portside-agent revoke` does."""
    found = settings.load(agent.home / "agent.toml")
    return tokens.revoke(found, named, "stolen", io.StringIO(stdin))


def _by_nginx(agent: Agent, uri: str, headers: dict[str, str] | None = None) -> int:
    sent = {**(headers or {}), "X-Original-URI": uri}
    answer = requests.get(f"{agent.url}/internal/download", headers=sent, timeout=60)
    return 204 if answer.status_code == 204 else int(answer.headers["X-Refusal-Status"])


def test_each_kind_of_token_is_refused_wherever_it_is_shown_and_others_are_not(
    agent: Agent,
) -> None:
    file = stored(agent, "a.bin", b"x", namespace="private")
    uri, where = f"/uploads/{file.path}", f"/{file.file_id}"
    headers = [access(agent), access(agent, jti="an-access-token"), access(agent, sub="else")]
    links = [
        download(agent, file.path),
        download(agent, file.path, jti="a-download-token"),
        download(agent, file.path, jti="another-download-token"),
    ]
    of_access = headers[0]["Authorization"].removeprefix("Bearer ")
    upload = agent.mint()

    def let_in() -> list[bool]:
        shown = []
        for each in headers:
            shown += [
                ask(agent, "GET", "", each).ok,
                ask(agent, "GET", where, each).ok,
                ask(agent, "POST", f"{where}/verify", each).ok,
                ask(agent, "GET", f"{where}/content", each).ok,
                _by_nginx(agent, uri, each) == 204,
            ]
        for link in links:
            shown += [
                ask(agent, "GET", f"{where}/content?token={link}").ok,
                _by_nginx(agent, f"{uri}?token={link}") == 204,
            ]
        return shown

    assert let_in() == [True] * 21
    for named, stdin in (
        ("-", f"{of_access}\n"),
        ("an-access-token", ""),
        ("-", links[0]),
        ("-", "a-download-token\n"),
        ("-", upload),
    ):
        assert "is revoked on s01 until" in _revoke(agent, named, stdin)
    expected = [False] * 10 + [True] * 5 + [False] * 4 + [True] * 2
    assert let_in() == expected
    assert slug_of(agent.put("b.bin", b"y", upload)) == "token-revoked"
    assert slug_of(ask(agent, "DELETE", where, headers[1])) == "token-revoked"
    assert agent.put("b.bin", b"y").status_code == 201

    listed = agent.command("revoked").stdout
    assert listed.count("\tstolen\n") == 5
    assert not any(token in listed for token in (of_access, links[0], upload))
    # The index is only a cache.
    agent.kill()
    for path in (agent.root / "state").glob("index.sqlite*"):
        path.unlink()
    assert agent.command("reindex").returncode == 0
    agent.start()
    assert let_in() == expected
    assert slug_of(agent.put("b.bin", b"y", upload)) == "token-revoked"


def test_a_body_in_flight_is_not_stored_once_its_token_is_revoked(agent: Agent) -> None:
    token = agent.mint(jti="token-in-flight")
    resumed = agent.mint(jti="token-resumed", name="r.bin")
    headers = {**bearer(resumed), "Tus-Resumable": "1.0.0"}
    url = requests.post(
        f"{agent.url}/api/v1/uploads", headers={**headers, "Upload-Length": "4"}, timeout=60
    ).headers["Location"]
    half = 8 * KIB
    with agent.open_put("a.bin", 2 * half, token) as connection:
        connection.sendall(bytes(half))
        agent.wait_for_uploads(1)
        assert agent.status()["under_way"] == ["token-in-flight"]
        _revoke(agent, "token-in-flight")
        connection.sendall(bytes(half))
        assert b" 401 " in first_line(connection)
    assert agent.visible_files() == []
    assert len(agent.leftovers()) == 1, "the other upload's"
    assert agent.status()["under_way"] == []
    _revoke(agent, "-", resumed)
    appended = requests.patch(
        url,
        data=b"0123",
        headers={
            **headers,
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
        timeout=60,
    )
    assert slug_of(appended) == "token-revoked"


def test_what_is_no_token_of_this_nodes_is_said_in_words(agent: Agent) -> None:
    elsewhere = access(agent, aud="s02")["Authorization"].removeprefix("Bearer ")
    for text, words in (
        ("", "no token's id"),
        ("short", "no token's id"),
        ("no.token.at all", "no token's id"),
        (elsewhere, "it is for s02"),
        (f"{elsewhere[:-8]}AAAAAAAA", "signature"),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            _revoke(agent, "-", text)
        assert elsewhere not in str(refused.value)
    assert agent.command("revoked").stdout == "no token is revoked here\n"
