"""Single tokens are revoked by operators: nodes are told, and what was stored stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from control.cluster import snapshot as snapshots
from control.worker import expiry
from portside.tokens import (
    DOWNLOAD_TYPE,
    RESUMABLE,
    SigningKey,
    mint_download,
    token_id,
    unverified_claims,
)
from portside.wire.claims import DownloadClaims
from portside.wire.keys import LONGEST_UNKNOWN
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PATH = "/api/v1/revocations"


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def revoke(api: Api, **wish: Any) -> dict[str, Any]:
    answer = api.ask("POST", PATH, wish, key=api.admin)
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def download(core: Core, path: str, node_id: str = "s01", key: SigningKey | None = None) -> str:
    now = int(core.clock.now.timestamp())
    signer = key or core.key
    claims = DownloadClaims(
        iss=signer.owner, aud=node_id, iat=now, nbf=now, exp=now + 600, path=path
    )
    return mint_download(signer, claims)


def test_a_session_whose_token_is_revoked_gives_its_promise_back_and_its_node_is_told(
    api: Api,
) -> None:
    session = api.opens()
    for wish in ({"token": session.token}, {"jti": session.session_id}):
        told = revoke(api, **wish, reason="posted in a forum")
        assert (told["token_id"], told["kind"]) == (session.session_id, "upload+jwt")
        assert (told["node_id"], told["revoked_by"]) == (session.node_id, "operator")
        assert told["reason"] == "posted in a forum"
    assert api.core.pool(session.node_id)[:2] == (0, 0)
    assert api.core.reports(session.node_id).revoked == (session.session_id,)
    listed = api.ask("GET", PATH, key=api.admin)
    assert [each["token_id"] for each in listed.json["revoked"]] == [session.session_id]
    assert session.token not in listed.text
    api.core.counts_are_right()


def test_what_was_stored_before_its_token_was_revoked_stays(api: Api) -> None:
    """Also where its receipt comes later: it was acknowledged."""
    session = api.opens()
    revoke(api, token=session.token)
    assert api.brings(session).json["state"] == "replicating"
    assert api.core.reports(session.node_id).work == ()
    assert api.core.file(session.file_id).state == "committed"
    api.core.counts_are_right()


def test_a_download_token_is_refused_here_and_so_is_what_is_made_of_it(api: Api) -> None:
    session = api.uploads(namespace="private")
    path = f"private/{session.file_id}"
    other = next(iter(set(api.core.nodes.keys) - {session.node_id}))
    token = download(api.core, path, other)
    lasting = f"/f/{session.file_id}"
    led = api.ask("GET", lasting, key=None, query={"token": token})
    assert led.status_code == 302, led.text
    derived = led.headers["Location"].partition("token=")[2].partition("&")[0]
    assert token_id(derived, unverified_claims(derived)["jti"]) == token_id(token, None)
    told = revoke(api, token=token)
    assert told["kind"] == DOWNLOAD_TYPE
    # As long as a download that broke off may go on.
    ends = unverified_claims(token)["exp"] + RESUMABLE
    assert api.core.clock.now.timestamp() < ends
    assert api.core.reports(other).revoked == (token_id(token, None),)
    for each in (token, derived):
        refused = api.ask("GET", lasting, key=None, query={"token": each})
        assert (refused.status_code, slug_of(refused)) == (401, "token-revoked")


def test_an_id_of_which_nothing_is_known_is_revoked_for_as_long_as_is_said(api: Api) -> None:
    now = api.core.clock.now
    until = now + timedelta(days=3)
    assert revoke(api, token_id="app-token-1")["expires_at"] == (
        (now + timedelta(seconds=LONGEST_UNKNOWN)).isoformat().replace("+00:00", "Z")
    )
    revoke(api, token_id="app-token-2", expires_at=until.isoformat())
    assert set(api.core.reports("s01").revoked) == {"app-token-1", "app-token-2"}
    api.core.clock.pass_by(4 * 86400)
    assert api.core.reports("s01").revoked == ("app-token-1",)
    api.core.clock.pass_by(expiry.KEPT.total_seconds())
    expiry.purge(api.core.database, api.core.clock.now)
    listed = api.ask("GET", PATH, key=api.admin).json["revoked"]
    assert [each["token_id"] for each in listed] == ["app-token-1"]


def test_what_cant_be_revoked_is_said_in_words(api: Api) -> None:
    core, stranger = api.core, SigningKey.generate("lab")
    good = download(core, "private/a")
    for wish, words in (
        ({}, "'token' or 'token_id'"),
        ({"token": good, "token_id": "app-token-1"}, "'token' or 'token_id'"),
        ({"token": good, "expires_at": core.clock.now.isoformat()}, "says itself"),
        ({"token": "no-token"}, "needs no revoking"),
        ({"token": good[:-8] + "AAAAAAAA"}, "signature"),
        ({"token": download(core, "private/a", key=stranger)}, "kid"),
        ({"token": core.nodes.receipt("s01", core.clock.now)}, "upload+jwt"),
        ({"token_id": "short"}, "8 to 128"),
        ({"token_id": "app-token-1", "expires_at": "2026-01-01"}, "expires_at"),
        ({"token_id": "app-token-1", "reason": "x" * 501}, "reason"),
        ({"tokens": []}, "token_id"),
    ):
        answer = api.ask("POST", PATH, wish, key=api.admin)
        assert (answer.status_code, slug_of(answer)) == (400, "malformed-request"), wish
        assert words in answer.json["detail"], wish
        assert good not in answer.text
    assert api.ask("GET", PATH, key=api.admin).json["revoked"] == []


def test_many_uploads_called_off_crowd_out_no_operators_revocation(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the answer stays one that nodes take: they would refuse a longer list, and all else."""
    monkeypatch.setattr(snapshots, "MOST_REVOKED", 3)
    revoke(api, token_id="app-token-1")
    sessions = [api.opens(name=f"{number}.iso") for number in range(3)]
    for session in sessions:
        api.core.clock.pass_by(1)
        assert api.ask("DELETE", f"/api/v1/files/{session.file_id}").status_code == 200
    newest = [each.session_id for each in sessions[:0:-1]]
    assert api.core.reports("s01").revoked == ("app-token-1", *newest)
