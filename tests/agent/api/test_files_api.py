"""`/api/v1/files/<id>`: who may do what with a file, and what is answered to the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from portside.tokens import SigningKey, mint_access
from portside.wire.files import StoredFile
from tests.support.agent.process import NODE_ID, Agent, slug_of
from tests.support.agent.stored_files import access, ask, bearer, data_of, download, stored
from tests.support.minting import access_claims

# -- tokens ----------------------------------------------------------------------------------------


def _foreign_tokens(agent: Agent, file: StoredFile) -> dict[str, tuple[str, int, str]]:
    """Tokens that must open nothing: what is wrong, the token, status and problem."""
    past = int(time.time()) - 3600

    def minted(key: SigningKey = agent.issuer, node: str = NODE_ID, **changed: Any) -> str:
        rights = {"rights": ("list", "read", "verify", "delete"), **changed}
        return mint_access(key, access_claims("lab", node, rights))

    return {
        "another node's": (minted(node="s02"), 403, "token-wrong-node"),
        "expired": (minted(exp=past, nbf=past, iat=past), 401, "token-expired"),
        "not yet valid": (minted(nbf=past + 7200), 401, "token-not-yet-valid"),
        "of an unknown key": (minted(SigningKey.generate("lab")), 401, "token-unknown-key"),
        "a download token": (download(agent, file.path), 401, "token-type"),
        "no token": ("x.y", 401, "token-malformed"),
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/{id}"),
        ("GET", "/{id}/content"),
        ("POST", "/{id}/verify"),
        ("GET", "/{id}/verify"),
        ("DELETE", "/{id}"),
    ],
)
def test_no_foreign_token_opens_anything(shared_agent: Agent, method: str, path: str) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    where = path.format(id=file.file_id)
    for what, (token, status, slug) in _foreign_tokens(shared_agent, file).items():
        answer = ask(shared_agent, method, where, bearer(token))
        assert (answer.status_code, slug_of(answer)) == (status, slug), what
        assert (answer.headers.get("WWW-Authenticate") is not None) is (status == 401)
    missing = ask(shared_agent, method, where)
    assert (missing.status_code, slug_of(missing)) == (401, "token-missing")
    assert data_of(shared_agent, file).exists()


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "", "list"),
        ("GET", "/{id}", "read"),
        ("GET", "/{id}/content", "read"),
        ("POST", "/{id}/verify", "verify"),
        ("DELETE", "/{id}", "delete"),
    ],
)
def test_each_right_is_for_one_thing(
    shared_agent: Agent, method: str, path: str, right: str
) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    where = path.format(id=file.file_id)
    others = tuple({"list", "read", "verify", "delete"} - {right})
    refused = ask(shared_agent, method, where, access(shared_agent, rights=others))
    assert (refused.status_code, slug_of(refused)) == (403, "right-missing")
    allowed = ask(shared_agent, method, where, access(shared_agent, rights=(right,)))
    assert allowed.status_code in (200, 204)


@pytest.mark.parametrize(
    "claims", [{"namespace": "isos"}, {"owner": "someone-else"}, {"file_id": "0" * 32}]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/content"), ("POST", "/verify"), ("DELETE", "")]
)
def test_a_token_for_other_files_is_refused(
    shared_agent: Agent, method: str, path: str, claims: dict[str, str]
) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    answer = ask(shared_agent, method, f"/{file.file_id}{path}", access(shared_agent, **claims))
    assert (answer.status_code, slug_of(answer)) == (403, "right-missing")
    assert data_of(shared_agent, file).exists()


# -- one file --------------------------------------------------------------------------------------


def test_a_public_files_attributes_are_open_to_who_knows_its_id(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x")
    answer = ask(shared_agent, "GET", f"/{file.file_id}")
    assert StoredFile.model_validate(answer.json()) == file
    assert answer.headers["Cache-Control"] == "public, no-cache"
    head = ask(shared_agent, "HEAD", f"/{file.file_id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_a_private_files_uploader_may_look_it_up_with_the_uploads_token(
    shared_agent: Agent,
) -> None:
    claims = shared_agent.claims(namespace="private", exp=int(time.time()) + 1)
    token = shared_agent.mint(**dict(claims))
    file = StoredFile.model_validate(shared_agent.put("a.bin", b"x", token).json())
    answer = ask(shared_agent, "GET", f"/{file.file_id}", bearer(token))
    assert StoredFile.model_validate(answer.json()) == file
    assert answer.headers["Cache-Control"] == "private, no-store"
    # Past the time to start, within the time to resume: the receipt may be what was missed.
    late = shared_agent.mint(**{**dict(claims), "exp": int(time.time()) - 600})
    assert ask(shared_agent, "GET", f"/{file.file_id}", bearer(late)).status_code == 200
    other = ask(
        shared_agent, "GET", f"/{file.file_id}", bearer(shared_agent.mint(namespace="private"))
    )
    assert (other.status_code, slug_of(other)) == (403, "right-missing")
    content = ask(shared_agent, "GET", f"/{file.file_id}/content", bearer(token))
    assert (content.status_code, slug_of(content)) == (401, "token-type")


@pytest.mark.parametrize(
    "file_id",
    [
        "0" * 32,
        "0" * 31,
        "A" * 32,
        "x" * 1000,
        "%2e%2e%2fstate",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff",
        "'%20OR%20'1'='1",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("HEAD", ""),
        ("GET", "/content"),
        ("HEAD", "/content"),
        ("POST", "/verify"),
        ("DELETE", ""),
    ],
)
def test_an_unknown_id_is_not_found(
    shared_agent: Agent, method: str, path: str, file_id: str
) -> None:
    answer = ask(shared_agent, method, f"/{file_id}{path}", access(shared_agent))
    assert answer.status_code == 404
    if method != "HEAD":
        assert slug_of(answer) == "not-found"


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", ""), ("POST", "/x"), ("DELETE", "/x/content"), ("PUT", "/x/verify")],
)
def test_other_methods_are_refused(shared_agent: Agent, method: str, path: str) -> None:
    answer = ask(shared_agent, method, path, access(shared_agent))
    assert (answer.status_code, slug_of(answer)) == (405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]


def test_a_commit_that_is_not_done_yet_is_not_shown(shared_agent: Agent) -> None:
    claims = shared_agent.claims()
    connection = shared_agent.open_put("a.bin", 10, shared_agent.mint(**dict(claims)))
    shared_agent.wait_for_uploads(1)
    assert ask(shared_agent, "GET", f"/{claims.file_id}").status_code == 404
    connection.close()
    shared_agent.wait_for_uploads(0)
