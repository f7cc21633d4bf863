"""A token's quota at a real node: however a file is sent, its owner gets as much, and is told why.

What counts, and how it is held to under pressure, is in `tests/unit/agent/uploads/test_quotas.py`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from agent.dialects.draft import PARTIAL_TYPE
from agent.index.database import Database
from agent.integrity.reindex import reindex
from agent.settings import load
from agent.storage import ending
from agent.storage.quarantine import quarantine
from portside.tokens import mint_access
from portside.wire.files import OwnerUsage
from tests.support.agent.process import Agent, first_line, slug_of
from tests.support.agent.stored_files import access, ask, bearer, stored
from tests.support.minting import access_claims

UPLOADS = "/api/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Owner:
    """Somebody who may have 100 bytes on a node, and has 60."""

    def __init__(self, agent: Agent, **claims: Any) -> None:
        self.agent = agent
        self.name = f"owner-{secrets.token_hex(4)}"
        self.claims = {"sub": self.name, "quota": {"bytes": 100}, **claims}
        self.first = stored(agent, "first.bin", b"f" * 60, sub=self.name)

    def token(self, **changed: Any) -> str:
        return self.agent.mint(**{"name": "a.bin", **self.claims, **changed})

    def usage(self) -> OwnerUsage:
        answer = requests.get(
            f"{self.agent.url}/api/v1/usage",
            params={"owner": self.name},
            headers=access(self.agent),
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return OwnerUsage.model_validate_json(answer.content)

    def has(self) -> tuple[int, int]:
        used = self.usage()
        return used.files, used.bytes

    def ask(self, method: str, url: str, token: str, data: Any = b"", **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(
            method, self.agent.url + url, data=data, headers=bearer(token) | sent, timeout=60
        )

    def begin(self, token: str, **headers: str) -> str:
        answer = self.ask("POST", UPLOADS, token, **TUS, **headers)
        assert answer.status_code == 201, answer.text
        return f"{UPLOADS}/{answer.headers['Location'].rpartition('/')[2]}"


def in_pieces(size: int) -> Iterator[bytes]:
    """A body of which nobody knows the size beforehand."""
    for _ in range(size):
        yield b"x"


def as_it_is(owner: Owner, size: int) -> Any:
    return owner.ask("PUT", "/api/internal/upload/a.bin", owner.token(), b"x" * size)


def chunked(owner: Owner, size: int) -> Any:
    return owner.ask("PUT", "/api/internal/upload/a.bin", owner.token(), in_pieces(size))


def as_a_form(owner: Owner, size: int) -> Any:
    return owner.agent.post("a.bin", b"x" * size, owner.token())


def by_tus(owner: Owner, size: int) -> Any:
    return owner.ask(
        *("POST", UPLOADS, owner.token(), b"x" * size), **BYTES, Upload_Length=str(size)
    )


def by_tus_with_its_length_late(owner: Owner, size: int) -> Any:
    token = owner.token()
    url = owner.begin(token, Upload_Defer_Length="1")
    headers = {**BYTES, "Upload-Offset": "0", "Upload-Length": str(size)}
    return owner.ask("PATCH", url, token, b"x" * size, **headers)


def by_tus_in_parts(owner: Owner, size: int) -> Any:
    token = owner.token()
    parts = []
    for part in (size - size // 2, size // 2):
        headers = {**BYTES, "Upload-Length": str(part), "Upload-Concat": "partial"}
        answer = owner.ask("POST", UPLOADS, token, b"x" * part, **headers)
        if answer.status_code != 201:
            return answer
        parts.append(answer.headers["Location"])
    return owner.ask("POST", UPLOADS, token, **TUS, Upload_Concat=f"final;{' '.join(parts)}")


def by_the_draft(owner: Owner, size: int) -> Any:
    return owner.ask("POST", UPLOADS, owner.token(), b"x" * size, Upload_Complete="?1")


def by_the_draft_chunked(owner: Owner, size: int) -> Any:
    token = owner.token()
    begun = owner.ask("POST", UPLOADS, token, Upload_Complete="?0")
    url = f"{UPLOADS}/{begun.headers['Location'].rpartition('/')[2]}"
    headers = {"Upload-Complete": "?1", "Upload-Offset": "0", "Content-Type": PARTIAL_TYPE}
    return owner.ask("PATCH", url, token, in_pieces(size), **headers)


WAYS: list[Callable[[Owner, int], Any]] = [
    as_it_is,
    chunked,
    as_a_form,
    by_tus,
    by_tus_with_its_length_late,
    by_tus_in_parts,
    by_the_draft,
    by_the_draft_chunked,
]


@pytest.mark.parametrize("way", WAYS)
def test_however_a_file_is_sent_its_owner_has_no_byte_too_much(
    shared_agent: Agent, way: Callable[[Owner, int], Any]
) -> None:
    owner = Owner(shared_agent)
    refused = way(owner, 41)
    assert (refused.status_code, slug_of(refused)) == (413, "over-quota"), refused.text
    assert f"{owner.name} has" in refused.json()["detail"]
    assert "60 B of 100 B" in refused.json()["detail"] or "of that under way" in refused.text
    assert owner.usage().stored.bytes == 60
    # By another owner, for what was begun in vain is open still.
    other = Owner(shared_agent)
    assert way(other, 40).status_code in (200, 201, 204)
    assert other.has() == (2, 100)
    assert other.usage().uploading.files == 0


@pytest.mark.parametrize("way", [as_it_is, by_tus, by_the_draft])
def test_files_are_counted_too(shared_agent: Agent, way: Callable[[Owner, int], Any]) -> None:
    owner = Owner(shared_agent, quota={"files": 2})
    assert way(owner, 0).status_code in (200, 201)
    refused = way(owner, 0)
    assert slug_of(refused) == "over-quota"
    assert f"{owner.name} has 2 of 2 files" in refused.json()["detail"]


def test_the_refusal_comes_before_the_body(shared_agent: Agent) -> None:
    """nginx asks first, of everything that brings a file or begins one."""
    owner = Owner(shared_agent)
    begun = owner.token()
    place = owner.begin(begun, Upload_Defer_Length="1")
    form = {"X-Original-Content-Type": "multipart/form-data; boundary=b"}
    for method, uri, length, token, headers in (
        ("PUT", "/api/internal/upload/a.bin", 41, owner.token(), {}),
        ("POST", "/api/internal/upload", 100_000, owner.token(), form),
        ("POST", UPLOADS, 0, owner.token(), {**TUS, "Upload-Length": "41"}),
        ("PATCH", place, 41, begun, {**BYTES, "Upload-Offset": "0"}),
        ("PATCH", place, 1, begun, {**BYTES, "Upload-Offset": "0", "Upload-Length": "41"}),
    ):
        sent = {
            "X-Original-Method": method,
            "X-Original-URI": uri,
            "X-Original-Content-Length": str(length),
            **bearer(token),
            **headers,
        }
        # What the client says of the body travels beside the question's own.
        if "Content-Type" in sent:
            sent["X-Original-Content-Type"] = sent.pop("Content-Type")
        refused = requests.get(f"{shared_agent.url}/internal/preflight", headers=sent, timeout=60)
        assert refused.headers.get("X-Refusal-Status") == "413", (method, uri, refused.headers)
        assert "over-quota" in json.loads(refused.headers["X-Refusal"])["type"]


def test_who_is_let_in_stays_in_whatever_comes_beside(shared_agent: Agent) -> None:
    owner = Owner(shared_agent)
    token = owner.token()
    place = owner.begin(token, Upload_Length="40")
    sending = shared_agent.open_put("b.bin", 30, owner.token(quota=None, name="b.bin"))
    sending.sendall(b"x" * 30)
    assert b"201" in first_line(sending)
    sending.close()
    assert owner.has() == (3, 130)
    assert slug_of(as_it_is(owner, 0)) == "over-quota"
    headers = {**BYTES, "Upload-Offset": "0"}
    assert owner.ask("PATCH", place, token, b"x" * 40, **headers).status_code == 204
    assert owner.usage().stored.bytes == 130


def test_two_at_once_never_share_the_last_bytes(shared_agent: Agent) -> None:
    owner = Owner(shared_agent)
    with shared_agent.open_put("b.bin", 40, owner.token(name="b.bin")) as sending:
        shared_agent.wait_for_uploads(1)
        for way in (as_it_is, by_tus):
            refused = way(owner, 1)
            assert slug_of(refused) == "over-quota"
            assert "100 B of 100 B on this node (40 B of that under way)" in refused.text
        sending.sendall(b"x" * 40)
        assert b"201" in first_line(sending)
    assert owner.has() == (2, 100)


def test_what_is_given_up_and_deleted_is_free_again(shared_agent: Agent) -> None:
    owner = Owner(shared_agent)
    token = owner.token()
    place = owner.begin(token, Upload_Length="40")
    assert slug_of(as_it_is(owner, 40)) == "over-quota"
    assert owner.ask("DELETE", place, token, **TUS).status_code == 204
    assert as_it_is(owner, 40).status_code == 201
    gone = ask(shared_agent, "DELETE", f"/{owner.first.file_id}", access(shared_agent))
    assert gone.status_code == 204
    assert owner.has() == (1, 40)
    assert as_it_is(owner, 60).status_code == 201


@pytest.mark.parametrize(
    ("beginning", "headers", "body"),
    [
        (
            {**TUS, "Upload-Defer-Length": "1"},
            lambda size: {**BYTES, "Upload-Length": str(size)},
            lambda size: b"x" * size,
        ),
        (
            {"Upload-Complete": "?0"},
            lambda size: {"Upload-Complete": "?1", "Content-Type": PARTIAL_TYPE},
            in_pieces,
        ),
    ],
    ids=["its length is told late", "its length is never told"],
)
def test_an_upload_that_has_too_much_goes_on_once_something_is_deleted(
    shared_agent: Agent,
    beginning: dict[str, str],
    headers: Callable[[int], dict[str, str]],
    body: Callable[[int], Any],
) -> None:
    owner = Owner(shared_agent)
    token = owner.token()
    begun = owner.ask("POST", UPLOADS, token, **beginning)
    place = f"{UPLOADS}/{begun.headers['Location'].rpartition('/')[2]}"
    # All that was left is promised to it.
    assert owner.has() == (2, 100)

    def end(size: int) -> requests.Response:
        sent = {**headers(size), "Upload-Offset": "0"}
        answer = owner.ask("PATCH", place, token, body(size), **sent)
        assert isinstance(answer, requests.Response)
        return answer

    assert slug_of(end(41)) == "over-quota"
    gone = ask(shared_agent, "DELETE", f"/{owner.first.file_id}", access(shared_agent))
    assert gone.status_code == 204
    assert slug_of(end(101)) == "over-quota"
    assert end(100).status_code in (200, 204)
    assert owner.has() == (1, 100)


def test_an_owner_sees_its_own_usage(shared_agent: Agent) -> None:
    owner = Owner(shared_agent, quota={"bytes": 100, "files": 7})
    token = owner.token()
    owner.begin(token, Upload_Length="30")
    url = f"{shared_agent.url}/api/v1/usage"
    told = requests.get(url, headers=bearer(token), timeout=60)
    assert told.headers["Cache-Control"] == "private, no-store"
    assert told.json() == {
        "node_id": "s01",
        "owner": owner.name,
        "files": 2,
        "bytes": 90,
        "stored": {"files": 1, "bytes": 60},
        "uploading": {"files": 1, "bytes": 30},
        "ended": {"files": 0, "bytes": 0},
        "quarantined": {"files": 0, "bytes": 0},
        "quota": {
            "bytes": {"limit": 100, "used": 90, "left": 10},
            "files": {"limit": 7, "used": 2, "left": 5},
        },
    }
    own = mint_access(
        shared_agent.issuer, access_claims("lab", "s01", {"rights": ("list",), "owner": owner.name})
    )
    assert requests.get(url, headers=bearer(own), timeout=60).json() == told.json() | {
        "quota": None
    }


@pytest.mark.parametrize(
    ("claims", "query", "slug"),
    [
        ({"owner": "alice"}, "?owner=bob", "right-missing"),
        ({"owner": "alice", "rights": ("read",)}, "", "right-missing"),
        # Of a part of somebody's files nothing is told about the rest.
        ({"owner": "alice", "namespace": "isos"}, "", "right-missing"),
        ({"owner": "alice", "file_id": "0" * 32}, "", "right-missing"),
        ({}, "", "malformed-request"),
        ({}, "?owner=", "malformed-request"),
        ({}, "?owner=a&owner=b", "malformed-request"),
        ({}, "?owners=a", "malformed-request"),
    ],
)
def test_nobody_else_sees_it(
    shared_agent: Agent, claims: dict[str, Any], query: str, slug: str
) -> None:
    url = f"{shared_agent.url}/api/v1/usage{query}"
    assert slug_of(requests.get(url, headers=access(shared_agent, **claims), timeout=60)) == slug


def test_usage_is_told_to_no_one_without_a_token_and_to_no_other_uploader(
    shared_agent: Agent,
) -> None:
    url = f"{shared_agent.url}/api/v1/usage"
    assert slug_of(requests.get(url, timeout=60)) == "token-missing"
    uploader = bearer(shared_agent.mint(sub="alice"))
    refused = requests.get(url, params={"owner": "bob"}, headers=uploader, timeout=60)
    assert slug_of(refused) == "right-missing"


@pytest.mark.parametrize(
    "quota", [{}, {"bytes": -1}, {"bytes": True}, {"bytes": 1, "file": 1}, {"bytes": 2**63}, 5]
)
def test_a_quota_that_says_something_else_lets_nobody_in(shared_agent: Agent, quota: Any) -> None:
    claims = shared_agent.claims().model_dump(mode="json", exclude_none=True)
    token = shared_agent.issuer.sign("upload+jwt", {**claims, "quota": quota})
    assert slug_of(shared_agent.put("a.bin", b"x", token)) == "token-claims"


def test_usage_survives_whatever_befalls_a_node(agent: Agent) -> None:
    """kill -9 amid uploads, files out of service, a rebuilt index: what is here counts."""
    owner = Owner(agent)
    token = owner.token()
    place = owner.begin(token, Upload_Length="30")
    unknown = owner.token(max_size=7)
    owner.begin(unknown, Upload_Defer_Length="1")
    with agent.open_put("b.bin", 3, owner.token(name="b.bin")):
        agent.wait_for_uploads(1)
        assert owner.has() == (4, 100)
        agent.kill()
    agent.start()
    # What the request was to bring is gone with it.
    assert owner.has() == (3, 97)
    assert slug_of(as_it_is(owner, 4)) == "over-quota"
    headers = {**BYTES, "Upload-Offset": "0"}
    assert owner.ask("PATCH", place, token, b"x" * 30, **headers).status_code == 204
    second = stored(agent, "c.bin", b"c" * 2, sub=owner.name)

    settings = load(agent.home / "agent.toml")
    database = Database(settings.index)
    quarantine(settings, database, owner.first.file_id, "a test")
    ending.change(settings, database, second.file_id, 1)
    ending.end_due(settings, database, int(time.time()), 10)
    told = owner.usage()
    assert (told.quarantined.bytes, told.ended.bytes, told.stored.bytes) == (60, 2, 30)
    assert told.bytes == 99
    database.close()
    third = stored(agent, "d.bin", b"d", sub=owner.name)
    assert slug_of(as_it_is(owner, 1)) == "over-quota"

    agent.kill()
    for path in (agent.root / "state").glob("index.sqlite*"):
        path.unlink()
    reindex(settings)
    agent.start()
    again = owner.usage()
    assert (again.quarantined, again.ended) == (told.quarantined, told.ended)
    assert (again.stored.files, again.stored.bytes) == (2, 31)
    # Uploads under way live in the index alone.
    assert again.uploading.files == 0
    for file in (owner.first, second, third):
        assert ask(agent, "DELETE", f"/{file.file_id}", access(agent)).status_code == 204
    assert owner.has() == (1, 30)
