"""The URL that a file keeps: it leads to a copy, for whoever may read it, and never in a circle."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import falcon.testing
import pytest

from portside.tokens import SigningKey, mint_download, verify_download
from portside.wire.control import Session
from portside.wire.keys import Keyset
from tests.support.control.cluster import done
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of
from tests.support.minting import download_claims


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def _get(api: Api, path: str, key: str | None = None, method: str = "GET") -> falcon.testing.Result:
    path, _, query = path.partition("?")
    return api.ask(
        method, path, key=key, query=dict(each.split("=") for each in query.split("&") if each)
    )


def _leads_to(answer: falcon.testing.Result) -> tuple[str, dict[str, list[str]]]:
    """The node and the query that a redirect leads to."""
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    return str(parts.hostname).partition(".")[0], parse_qs(parts.query)


def _two_copies(api: Api, **wish: str) -> Session:
    session = api.uploads(**wish)
    path = f"{wish.get('namespace', 'files')}/{session.file_id}"
    api.brings(session, session.replicas[0], path=path)
    return session


def _token(api: Api, node_id: str, path: str, key: SigningKey | None = None, **claims: int) -> str:
    signer = key or api.core.key
    now = int(api.core.clock.now.timestamp())
    times = {"iat": now, "nbf": now, "exp": now + 60, **claims}
    return mint_download(signer, download_claims(signer.owner, node_id, {"path": path, **times}))


def test_every_answer_tells_the_url_that_lasts(api: Api) -> None:
    session = api.opens(name="größe 1.iso")
    url = f"https://c01.portside.test/f/{session.file_id}/gr%C3%B6%C3%9Fe_1.iso"
    assert session.url == url
    assert api.ask("GET", f"/api/v1/files/{session.file_id}").json["url"] == url
    found = api.brings(session).json
    assert found["url"].startswith(f"https://c01.portside.test/f/{session.file_id}/")
    assert api.ask("GET", "/api/v1/files").json["files"][0]["url"] == found["url"]
    assert api.ask("DELETE", f"/api/v1/files/{session.file_id}").json["url"] == found["url"]


def test_it_leads_to_a_copy_by_whatever_name(api: Api) -> None:
    session = _two_copies(api)
    for name in ("", "/a.iso", "/another.iso", "/a/b.iso", "/%2e"):
        for method in ("GET", "HEAD"):
            answer = _get(api, f"/f/{session.file_id}{name}", method=method)
            node, query = _leads_to(answer)
            assert node in (session.node_id, session.replicas[0])
            assert query == {}
            assert urlsplit(answer.headers["Location"]).path == f"/uploads/files/{session.file_id}"
            assert answer.headers["Cache-Control"] == "public, max-age=60"
            assert answer.headers["Surrogate-Key"] == f"{session.file_id} files"


def test_who_comes_from_a_node_is_not_sent_back_there(api: Api) -> None:
    session = _two_copies(api)
    first, second = session.node_id, session.replicas[0]
    path = f"/f/{session.file_id}/a.iso"
    assert _leads_to(_get(api, f"{path}?avoid={first}")) == (second, {"avoid": [first]})
    assert _leads_to(_get(api, f"{path}?avoid={second},x y,")) == (first, {"avoid": [second]})
    nowhere = _get(api, f"{path}?avoid={first},{second}")
    assert (nowhere.status_code, slug_of(nowhere)) == (503, "file-unavailable")


def test_it_goes_on_after_the_first_node_has_nothing_any_more(api: Api) -> None:
    session = _two_copies(api)
    api.core.clock.pass_by(api.core.settings.dead_after + 1)
    api.core.reports(session.replicas[0])
    node, _ = _leads_to(_get(api.fresh(), f"/f/{session.file_id}/a.iso"))
    assert node == session.replicas[0]


def test_a_file_whose_receipt_is_on_its_way_is_asked_for_at_its_node(api: Api) -> None:
    session = api.opens()
    path = f"/f/{session.file_id}/a.iso"
    answer = _get(api, path)
    assert _leads_to(answer)[0] == session.node_id
    assert urlsplit(answer.headers["Location"]).path == path
    assert answer.headers["Cache-Control"] == "no-store"
    back = _get(api, f"{path}?avoid={session.node_id}")
    assert (back.status_code, slug_of(back)) == (404, "not-found")
    api.ask("DELETE", f"/api/v1/files/{session.file_id}")
    assert slug_of(_get(api, path)) == "file-deleted"


def test_what_was_deleted_is_gone_and_what_never_was_is_not_found(api: Api) -> None:
    session = _two_copies(api)
    api.ask("DELETE", f"/api/v1/files/{session.file_id}")
    for node_id in (session.node_id, session.replicas[0]):
        answer = _get(api, f"/f/{session.file_id}/a.iso")
        assert (answer.status_code, slug_of(answer)) == (410, "file-deleted")
        assert answer.headers["Cache-Control"] == "no-store"
        [lease] = api.core.reports(node_id).work
        api.core.reports(node_id, work=[done(lease.lease_id)])
    assert slug_of(_get(api, f"/f/{session.file_id}")) == "file-deleted"
    for unknown in ("0" * 32, "nonsense", f"{session.file_id}x"):
        answer = _get(api, f"/f/{unknown}/a.iso")
        assert (answer.status_code, slug_of(answer)) == (404, "not-found")


def test_a_private_file_takes_a_key_or_a_token_for_its_path(api: Api) -> None:
    session = _two_copies(api, namespace="private")
    path, stored = f"/f/{session.file_id}/a.iso", f"private/{session.file_id}"
    first, second = session.node_id, session.replicas[0]
    stranger = api.core.app("stranger", "read")
    api = api.fresh()
    for key in (None, stranger):
        answer = _get(api, path, key)
        assert (answer.status_code, slug_of(answer)) == (401, "token-missing")
    keys = Keyset(keys=(api.core.key.public(),))

    def signed(answer: falcon.testing.Result) -> int:
        """When the token of a redirect ends, which must be good for where it leads."""
        node, query = _leads_to(answer)
        claims = verify_download(query["token"][0], keys, node, api.core.clock.now)
        assert claims.path == stored
        assert answer.headers["Cache-Control"] == "private, no-store"
        return claims.exp - int(api.core.clock.now.timestamp())

    assert signed(_get(api, path, api.key)) == api.core.settings.download_seconds
    for node_id in (first, second):
        given = _token(api, node_id, stored)
        for avoid in (first, second):
            # As long as the one that was given, whichever node it leads to.
            assert signed(_get(api, f"{path}?token={given}&avoid={avoid}")) == 60
    for wrong, status, slug in (
        (_token(api, first, f"{stored}x"), 403, "right-missing"),
        (_token(api, "s99", stored), 403, "token-wrong-node"),
        (_token(api, first, stored, exp=1), 401, "token-expired"),
        (_token(api, first, stored, SigningKey.generate("lab")), 401, "token-unknown-key"),
        ("x", 401, "token-malformed"),
    ):
        answer = _get(api, f"{path}?token={wrong}")
        assert (answer.status_code, slug_of(answer)) == (status, slug)
    api.ask("DELETE", f"/api/v1/files/{session.file_id}")
    assert slug_of(_get(api, path)) == "token-missing"
    assert slug_of(_get(api, path, api.key)) == "file-deleted"


def test_a_download_that_broke_off_goes_on_after_its_token_has_ended(api: Api) -> None:
    session = _two_copies(api, namespace="private")
    path, stored = f"/f/{session.file_id}/a.iso", f"private/{session.file_id}"
    sha256 = api.ask("GET", f"/api/v1/files/{session.file_id}").json["sha256"]
    ended = int(api.core.clock.now.timestamp()) - 3600
    late = _token(api, session.node_id, stored, exp=ended)
    keys = Keyset(keys=(api.core.key.public(),))
    for avoid in (session.node_id, session.replicas[0]):
        query = {"token": late, "avoid": avoid}
        headers = {"Range": "bytes=5-", "If-Range": f'"{sha256}"'}
        answer = api.ask("GET", path, key=None, query=query, headers=headers)
        node, led = _leads_to(answer)
        # Where it leads it is believed for the same reason, and for no longer.
        claims = verify_download(led["token"][0], keys, node, api.core.clock.now, resuming=True)
        assert claims.exp == ended
        refused = api.ask("GET", path, key=None, query=query, headers={"Range": "bytes=5-"})
        assert slug_of(refused) == "token-expired"


def test_a_link_is_good_for_as_long_as_is_asked_and_saves_if_that_is_asked(api: Api) -> None:
    session = _two_copies(api, namespace="private")
    where = f"/api/v1/files/{session.file_id}/url"
    keys = Keyset(keys=(api.core.key.public(),))
    week = 7 * 86400
    for query, seconds in (
        ({}, api.core.settings.download_seconds),
        ({"valid": "10"}, 10),
        ({"valid": str(week)}, week),
    ):
        node, led = _leads_to(api.ask("GET", where, query=query))
        claims = verify_download(led["token"][0], keys, node, api.core.clock.now)
        assert claims.exp - int(api.core.clock.now.timestamp()) == seconds
        assert "download" not in led
    for wrong in ("9", str(week + 1), "1d", "", "-1", "1.5"):
        answer = api.ask("GET", where, query={"valid": wrong})
        assert (answer.status_code, slug_of(answer)) == (400, "malformed-request")
    for path in (where, f"/f/{session.file_id}/a.iso"):
        assert _leads_to(api.ask("GET", path, query={"download": "1"}))[1]["download"] == ["1"]
