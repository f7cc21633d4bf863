"""What a node takes from other nodes, and what not: the receiving side, asked by hand."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from portside.names import attributes_path
from portside.quantities import MIB
from portside.tokens import (
    SigningKey,
    mint_access,
    mint_replicate,
    mint_upload,
    verify_receipt,
)
from portside.wire.bounds import LARGEST_FILE
from portside.wire.claims import ReplicateClaims, UploadClaims
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook
from portside.wire.keys import Keyset
from tests.support.agent.node_pairs import (
    Source,
    change,
    introduce,
    member,
    order,
    rows,
    wait_until,
)
from tests.support.agent.process import ISSUER, SMALL_NODE, Agent, slug_of
from tests.support.agent.stored_files import access
from tests.support.agent.worker_process import Worker, add_hooks
from tests.support.logs import entries_of, whole_lines_of
from tests.support.minting import access_claims, upload_claims

CONTENT = b"0123456789" * 150_000
"""Neither a whole number of blocks nor of buffers."""


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate("s02")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Iterator[Agent]:
    """A running s01 that knows s02 by its key."""
    agent = Agent(tmp_path_factory.mktemp("target"), sizing=replace(SMALL_NODE, sync_window=MIB))
    know(agent, key)
    # Somebody has put all keys there are into the node's keyset.
    keyset = agent.home / "keyset.json"
    keys = Keyset.model_validate_json(keyset.read_text()).keys
    keyset.write_text(Keyset(keys=(*keys, key.public(), *agent.node_keys.keys)).model_dump_json())
    # There is no worker: what it would have to deliver stays to be seen.
    add_hooks(agent, Hook(namespace="*", command=("/bin/true",)))
    agent.start()
    yield agent
    agent.kill()


def know(agent: Agent, key: SigningKey) -> None:
    """Put a node with this key into the agent's roster."""
    own = member(agent)
    other = own.model_copy(update={"node_id": key.owner, "key": key.public()})
    introduce(agent, nodes=(own, other))


def test_a_copy_is_stored_as_its_original_is_and_the_receipt_is_the_targets(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT, name="ä b.bin", content_type="text/x-test")
    answer = source.put()
    assert answer.status_code == 201, answer.text
    stored = StoredFile.model_validate_json(answer.content)
    claims = source.claims
    assert (target.root / "uploads" / claims.path).read_bytes() == CONTENT
    assert (stored.owner, stored.name, stored.content_type, stored.committed_at) == (
        *(claims.owner, claims.name, claims.content_type),
        claims.committed_at,
    )
    receipt = verify_receipt(stored.receipt, target.node_keys)
    assert (receipt.iss, receipt.jti, receipt.path, receipt.sha256) == (
        *("s01", claims.jti),
        *(claims.path, claims.sha256),
    )
    assert target.leftovers() == []


def test_a_copy_is_its_owners_and_is_refused_to_no_one(target: Agent, key: SigningKey) -> None:
    """What lies here counts, however it came; a quota is held against uploads alone."""
    source = Source(target, key, CONTENT, owner="copied")
    assert source.put(CONTENT[:1000], Content_Range=f"bytes 0-999/{len(CONTENT)}").ok
    quota = {"bytes": len(CONTENT) + 1}
    usage = f"{target.url}/api/v1/usage"
    token = target.mint(sub="copied", quota=quota)
    for state in ("uploading", "stored"):
        told = requests.get(usage, headers={"Authorization": f"Bearer {token}"}, timeout=60).json()
        assert told[state] == {"files": 1, "bytes": len(CONTENT)}
        refused = target.put("a.bin", b"12", target.mint(sub="copied", quota=quota))
        assert slug_of(refused) == "over-quota"
        source.put_from(1000)
    assert target.put("a.bin", b"1", token).status_code == 201


def test_an_empty_file_can_be_copied(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, b"")
    assert source.put().status_code == 201
    assert source.head()["Upload-Complete"] == "?1"


def test_the_same_again_is_answered_with_the_same_receipt_and_written_once(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT)
    first = source.put()
    path = target.root / "uploads" / source.claims.path
    before = path.stat()
    for again in (source.put(), source.put(b"", Content_Range=f"bytes */{len(CONTENT)}")):
        assert (again.status_code, again.json()) == (200, first.json())
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_other_content_under_the_same_id_is_a_conflict(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    other = Source(target, key, b"other", file_id=source.claims.file_id, path=source.claims.path)
    answer = other.put()
    assert (answer.status_code, slug_of(answer)) == (409, "file-differs")
    answer = source.put(b"x" * len(CONTENT))
    assert (answer.status_code, slug_of(answer)) == (409, "file-differs")
    assert (target.root / "uploads" / source.claims.path).read_bytes() == CONTENT


def test_another_file_at_the_path_is_a_conflict(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    answer = Source(target, key, b"other", path=source.claims.path).put()
    assert (answer.status_code, slug_of(answer)) == (409, "name-taken")


def test_who_pushes_and_from_where_is_in_the_log(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put(X_Forwarded_For="192.0.2.7")
    stranger = Source(target, SigningKey.generate("s99"), CONTENT)
    stranger.put(X_Forwarded_For="192.0.2.8")
    lines = entries_of(target.log)
    taken, refused = (
        [line for line in lines if line.get("address") == address]
        for address in ("192.0.2.7", "192.0.2.8")
    )
    assert [(line["event"], line["source"]) for line in taken] == [("push received", "s02")]
    assert [(line["event"], line["path"]) for line in refused] == [
        ("push refused", str(stranger.claims.path))
    ]


def test_wrong_bytes_are_refused_and_leave_nothing(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    answer = source.put(b"X" + CONTENT[1:])
    assert (answer.status_code, slug_of(answer)) == (422, "digest-mismatch")
    assert target.leftovers() == []
    assert not (target.root / "uploads" / source.claims.path).exists()
    assert source.head()["Upload-Offset"] == "0"
    assert source.put().status_code == 201


def test_a_digest_other_than_the_tokens_is_refused_before_the_body(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT)
    answer = source.put(Repr_Digest=f"sha-256=:{'A' * 43}=:")
    assert (answer.status_code, slug_of(answer)) == (422, "digest-mismatch")


def test_a_push_goes_on_where_the_disk_is(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    assert source.head()["Upload-Offset"] == "0"
    part = source.put_from(0, CONTENT[:500_001])
    assert (part.status_code, part.headers["Upload-Offset"]) == (204, "500001")
    assert source.head()["Upload-Complete"] == "?0"
    wrong = source.put_from(400_000)
    assert (wrong.status_code, slug_of(wrong)) == (409, "offset-mismatch")
    assert (wrong.headers["Upload-Offset"], wrong.json()["expected-offset"]) == ("500001", 500_001)
    early = source.put(b"", Content_Range=f"bytes */{len(CONTENT)}")
    assert (early.status_code, slug_of(early)) == (409, "offset-mismatch")
    assert source.put_from(500_001).status_code == 201
    assert (target.root / "uploads" / source.claims.path).read_bytes() == CONTENT


def test_a_push_whose_connection_breaks_keeps_what_came(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    with hanging(source, len(CONTENT)) as connection:
        connection.sendall(CONTENT[:1_000_000])
    # Not asked over HTTP: a question ends a request that is still taking in what came.
    recorded = "SELECT 1 FROM uploads WHERE jti = ? AND offset = 1000000"
    wait_until(lambda: rows(target, recorded, source.claims.jti), target)
    assert source.head()["Upload-Offset"] == "1000000"
    assert source.put_from(1_000_000).status_code == 201


def test_a_question_for_the_offset_ends_a_push_that_hangs(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    with hanging(source, len(CONTENT)) as connection:
        connection.sendall(CONTENT[:700_000])
        wait_until(lambda: target.status()["slots"]["used"] == 1, target)
        offset = int(source.head()["Upload-Offset"])
        assert 0 <= offset <= 700_000
        assert source.put_from(offset).status_code == 201


def hanging(source: Source, length: int) -> socket.socket:
    """A connection on which a push's head is sent."""
    connection = socket.create_connection(("127.0.0.1", source.target.port), timeout=60)
    lines = [
        f"PUT {source.url.removeprefix(source.target.url)} HTTP/1.1",
        *("Host: agent", f"Content-Length: {length}"),
        *(f"{name}: {value}" for name, value in source.headers().items()),
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection


def test_a_push_from_the_beginning_takes_the_place_of_a_begun_one(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT)
    source.put_from(0, b"x" * 500_000)
    assert source.put().status_code == 201
    assert target.leftovers() == []


def test_a_push_can_be_given_up_and_a_copy_can_not(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put_from(0, CONTENT[:500_000])
    assert target.leftovers() != []
    for _ in range(2):
        answer = requests.delete(source.url, headers=source.headers(), timeout=60)
        assert answer.status_code == 204
    assert target.leftovers() == []
    source.put()
    assert requests.delete(source.url, headers=source.headers(), timeout=60).status_code == 204
    assert source.head()["Upload-Complete"] == "?1"


@pytest.mark.parametrize(
    "path",
    [
        *("../etc/passwd", "isos/../../x.bin", "isos/2026/x.bin", "isos", "/etc/passwd", "isos/.x"),
        *("isos/a.bin.attr.json", "isos/a/../b.bin", "other/a.bin", "isos/2026/11/21/07/../a.bin"),
    ],
)
def test_a_path_that_is_no_files_place_is_refused(
    target: Agent, key: SigningKey, path: str
) -> None:
    source = Source(target, key, b"x", path=path)
    # As it is: requests would tidy the path first.
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
        head = [
            f"PUT /api/internal/replicate/{path} HTTP/1.1",
            *("Host: agent", "Content-Length: 1", "Connection: close"),
            *(f"{name}: {value}" for name, value in source.headers().items()),
        ]
        connection.sendall(("\r\n".join(head) + "\r\n\r\nx").encode())
        with connection.makefile("rb") as answer:
            text = answer.read()
    assert text.split(b" ", 2)[1] == b"403", text
    assert b"path-refused" in text
    assert not [each for each in target.root.rglob("*") if each.name == "passwd"]


def test_a_token_is_for_its_own_path_only(target: Agent, key: SigningKey) -> None:
    source, other = Source(target, key, CONTENT), Source(target, key, CONTENT)
    answer = source.put(url=other.url)
    assert (answer.status_code, slug_of(answer)) == (403, "path-refused")


def test_strangers_are_refused(target: Agent, key: SigningKey) -> None:
    stranger = Source(target, SigningKey.generate("s09"), CONTENT)
    forged = Source(target, SigningKey.generate("s02"), CONTENT)
    for source in (stranger, forged):
        answer = source.put()
        assert (answer.status_code, slug_of(answer)) == (401, "token-unknown-key")
    # An issuer may sign uploads: it is no node.
    answer = Source(target, target.issuer, CONTENT).put()
    assert (answer.status_code, slug_of(answer)) == (401, "token-unknown-key")
    # Nor does a node's key make another one.
    answer = Source(target, key, CONTENT, iss="s01").put()
    assert (answer.status_code, slug_of(answer)) == (401, "token-claims")
    answer = Source(target, target.node_key, CONTENT).put()
    assert (answer.status_code, slug_of(answer)) == (403, "source-unknown")


@pytest.mark.parametrize(
    ("changed", "slug"),
    [
        ({"aud": "s03"}, "token-wrong-node"),
        ({"exp": 1}, "token-expired"),
        ({"nbf": 2**37}, "token-not-yet-valid"),
    ],
)
def test_tokens_for_elsewhere_or_another_time_are_refused(
    target: Agent, key: SigningKey, changed: dict[str, Any], slug: str
) -> None:
    assert slug_of(Source(target, key, CONTENT, **changed).put()) == slug


def test_an_upload_token_is_none_for_copies(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    answer = source.put(Authorization=f"Bearer {target.mint()}")
    assert slug_of(answer) == "token-type"
    replicate = mint_replicate(key, source.claims)
    assert slug_of(target.put("a.bin", b"x", replicate)) == "token-type"


@pytest.mark.parametrize(
    ("sent", "headers", "status", "slug"),
    [
        (b"short", {}, 400, "size-mismatch"),
        (CONTENT, {"Content_Range": "bytes 0-9/10"}, 400, "malformed-request"),
        (CONTENT, {"Content_Range": "bytes=0-"}, 400, "malformed-request"),
        (b"abc", {"Content_Range": "bytes 0-2/3"}, 400, "size-mismatch"),
        (b"abc", {"Content_Range": "bytes */1500000"}, 400, "malformed-request"),
        (CONTENT, {"Repr_Digest": "md5=:AAAA:"}, 400, "malformed-request"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(
    target: Agent, key: SigningKey, sent: bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    answer = Source(target, key, CONTENT).put(sent, **headers)
    assert (answer.status_code, slug_of(answer)) == (status, slug)


def test_a_push_without_a_length_is_refused(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    answer = requests.put(source.url, data=iter([b"x"]), headers=source.headers(), timeout=60)
    assert (answer.status_code, slug_of(answer)) == (411, "length-required")


def test_a_full_disk_says_so_first(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, b"x", size=LARGEST_FILE - 1)
    answer = source.put_from(0, b"x")
    assert (answer.status_code, slug_of(answer)) == (507, "no-space")
    assert target.leftovers() == []


def test_nginx_hears_the_same_before_the_body(target: Agent, key: SigningKey) -> None:
    def ask(source: Source, length: int) -> requests.Response:
        asked = {
            **source.headers(),
            "X-Original-Method": "PUT",
            "X-Original-URI": source.url.removeprefix(target.url),
            "X-Original-Content-Length": str(length),
        }
        return requests.get(f"{target.url}/internal/preflight", headers=asked, timeout=60)

    assert ask(Source(target, key, CONTENT), len(CONTENT)).status_code == 204
    refused = ask(Source(target, key, b"x", size=LARGEST_FILE - 1), LARGEST_FILE - 1)
    assert (refused.status_code, refused.headers["X-Refusal-Status"]) == (403, "507")
    stranger = ask(Source(target, SigningKey.generate("s09"), CONTENT), len(CONTENT))
    assert stranger.headers["X-Refusal-Status"] == "401"


def test_a_copy_in_quarantine_is_repaired_by_a_push(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    path = target.root / "uploads" / source.claims.path
    path.write_bytes(b"X" + CONTENT[1:])
    file_id = source.claims.file_id
    url = f"{target.url}/api/v1/files/{file_id}"
    verified = requests.post(
        f"{url}/verify", headers=access(target, rights=("verify",)), timeout=60
    )
    assert verified.json()["intact"] is False
    assert requests.get(url, timeout=60).status_code == 410
    assert (target.root / "quarantine" / f"{file_id}.data").exists()

    bad = source.put(b"Y" + CONTENT[1:])
    assert (bad.status_code, slug_of(bad)) == (422, "digest-mismatch")
    assert rows(target, "SELECT 1 FROM notes WHERE key = ?", f"gone:{file_id}"), "it is to be told"
    assert (target.root / "quarantine" / f"{file_id}.data").exists()

    assert source.put().status_code == 201
    assert path.read_bytes() == CONTENT
    assert requests.get(url, timeout=60).status_code == 200
    assert not list((target.root / "quarantine").glob(f"{file_id}*"))
    assert rows(target, "SELECT key FROM notes WHERE key LIKE ?", f"%{file_id}") == []


def test_what_is_said_of_a_damaged_copy_while_it_is_repaired_stays_said(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    path = target.root / "uploads" / source.claims.path
    path.write_bytes(b"X" + CONTENT[1:])
    url = f"{target.url}/api/v1/files/{source.claims.file_id}"
    verified = requests.post(
        f"{url}/verify", headers=access(target, rights=("verify",)), timeout=60
    )
    assert verified.json()["intact"] is False
    assert source.put_from(0, CONTENT[:MIB]).status_code == 204
    held = requests.post(
        f"{url}/hold",
        json={"reason": "a complaint"},
        headers=access(target, rights=("hold",)),
        timeout=60,
    )
    assert held.status_code == 200, held.text
    ends = int(time.time()) + 3600
    kept = requests.patch(
        url, json={"expires_at": ends}, headers=access(target, rights=("delete",)), timeout=60
    )
    assert kept.status_code == 200, kept.text

    done = source.put_from(MIB)
    assert done.status_code == 201, done.text
    stored = StoredFile.model_validate(done.json())
    assert (stored.held, stored.expires_at) == (True, ends)
    assert stored.hold is not None and stored.hold.reason == "a complaint"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert requests.get(f"{url}/content", timeout=60).status_code == 403
    assert not list((target.root / "quarantine").glob(f"{stored.file_id}*"))


def test_a_held_file_is_fetched_from_the_agent_for_nginx_cant_read_it(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT, held=True)
    assert source.put().status_code == 201
    for _ in range(3):
        fetched = requests.get(source.url, headers=source.headers(), timeout=60)
        assert (fetched.status_code, fetched.content) == (200, CONTENT)
        assert "X-Accel-Redirect" not in fetched.headers
        assert int(fetched.headers["Content-Length"]) == len(CONTENT)
    # So many at a time, for each takes a thread; who leaves makes room.
    large = Source(target, key, CONTENT * 16, held=True)
    assert large.put().status_code == 201
    asking = [
        requests.get(large.url, headers=large.headers(), timeout=60, stream=True) for _ in range(2)
    ]
    third = requests.get(large.url, headers=large.headers(), timeout=60)
    assert (third.status_code, slug_of(third)) == (503, "no-slot")
    for each in asking:
        assert each.content == CONTENT * 16
    wait_until(
        lambda: requests.get(large.url, headers=large.headers(), timeout=60).status_code == 200,
        target,
    )


def test_a_deleted_file_does_not_come_back(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    url = f"{target.url}/api/v1/files/{source.claims.file_id}"
    headers = access(target, rights=("delete",))
    assert requests.delete(url, headers=headers, timeout=60).status_code == 204
    answer = source.put()
    assert (answer.status_code, slug_of(answer)) == (410, "file-deleted")


def test_hooks_are_not_called_for_copies(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put()
    own = target.put("own.bin", b"x").json()["file_id"]
    query = "SELECT kind FROM deliveries WHERE file_id = ?"
    assert rows(target, query, own) == [("command",)]
    assert rows(target, query, source.claims.file_id) == []
    assert rows(target, "SELECT 1 FROM pushes WHERE file_id = ?", source.claims.file_id) == []


def test_the_log_says_of_each_push_what_became_of_it(target: Agent, key: SigningKey) -> None:
    source = Source(target, key, CONTENT)
    source.put(b"X" + CONTENT[1:])
    source.put()
    source.put()
    path = str(source.claims.path)
    lines = [line for line in whole_lines_of(target.log) if path in line and "push" in line]
    for line, outcome in zip(lines, ["digest-mismatch", "stored", "known"], strict=True):
        for part in (outcome, source.claims.file_id, str(len(CONTENT)), '"source": "s02"'):
            assert part in line


def test_pushes_have_their_share_of_the_slots_and_no_more(tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "few").mkdir()
    few = Agent(tmp_path / "few", sizing=replace(SMALL_NODE, upload_slots=4, gunicorn_threads=12))
    know(few, key)
    few.start()
    try:
        first, second = Source(few, key, CONTENT), Source(few, key, CONTENT)
        with hanging(first, len(CONTENT)) as connection:
            connection.sendall(CONTENT[:1000])
            wait_until(lambda: few.status()["slots"]["used"] == 1, few)
            answer = second.put()
            assert (answer.status_code, slug_of(answer)) == (503, "no-slot")
            assert few.put("a.bin", b"uploads go on").status_code == 201
        wait_until(lambda: few.status()["slots"]["used"] == 0, few)
        assert second.put().status_code == 201
    finally:
        few.kill()


def test_a_push_survives_the_targets_crash(tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "crash").mkdir()
    agent = Agent(tmp_path / "crash", sizing=replace(SMALL_NODE, sync_window=MIB))
    know(agent, key)
    agent.start()
    try:
        source = Source(agent, key, CONTENT * 4)
        with hanging(source, len(source.content)) as connection:
            connection.sendall(source.content[: 4 * MIB])
            wait_until(lambda: rows(agent, "SELECT 1 FROM uploads WHERE offset > 0"), agent)
            agent.kill()
        agent.start()
        offset = int(source.head()["Upload-Offset"])
        assert offset > 0
        assert source.put_from(offset).status_code == 201
        assert (agent.root / "uploads" / source.claims.path).read_bytes() == source.content
    finally:
        agent.kill()


def test_a_push_that_nobody_goes_on_with_is_swept_in_the_end(
    tmp_path: Path, key: SigningKey
) -> None:
    (tmp_path / "left").mkdir()
    agent = Agent(tmp_path / "left")
    know(agent, key)
    agent.start()
    worker = Worker(agent)
    try:
        source = Source(agent, key, CONTENT)
        source.put_from(0, CONTENT[:1000])
        (left,) = rows(agent, "SELECT deadline FROM uploads")
        assert 86000 < left[0] - time.time() < 86500
        change(agent, "UPDATE uploads SET deadline = 1")
        worker.start()
        wait_until(lambda: agent.leftovers() == [], agent)
        assert source.put().status_code == 201
    finally:
        worker.kill()
        agent.kill()


def test_a_nodes_own_word_brings_no_new_file(target: Agent, key: SigningKey) -> None:
    source, before = Source(target, key, CONTENT), target.leftovers()
    theirs = SigningKey.generate("s02")
    for proof, slug in (
        ("", "order-missing"),
        ("no.token.", "order-refused"),
        # Its own keys, the one that others know it by, or one under an issuer's name.
        (order(source.claims, key), "order-refused"),
        (order(source.claims, theirs), "order-refused"),
        (order(source.claims, SigningKey.generate("lab")), "order-refused"),
        (mint_upload(key, uploaded(source.claims, key)), "order-refused"),
        # An issuer's word of something else.
        (order(source.claims, aud="s03"), "order-refused"),
        (order(source.claims, sub="s03"), "order-refused"),
        (order(source.claims, sha256="0" * 64), "order-refused"),
        (order(source.claims, owner="mallory"), "order-refused"),
        (order(source.claims, exp=1), "order-refused"),
        (target.mint(), "order-refused"),
        (mint_upload(ISSUER, uploaded(source.claims, replicas=("s03",))), "order-refused"),
        (mint_upload(ISSUER, uploaded(source.claims, max_size=1)), "order-refused"),
        (mint_upload(ISSUER, uploaded(source.claims, namespace="other")), "order-refused"),
        (mint_upload(ISSUER, uploaded(source.claims, layout="dated")), "order-refused"),
    ):
        answer = source.put(Portside_Order=proof)
        assert (answer.status_code, slug_of(answer)) == (403, slug), proof
    assert not (target.root / "uploads" / source.claims.path).exists()
    assert target.leftovers() == before


def test_a_nodes_key_is_no_issuers_though_a_keyset_has_it(target: Agent, key: SigningKey) -> None:
    uploaded_by = target.put("a.bin", CONTENT, target.mint(key, iss=key.owner))
    assert (uploaded_by.status_code, slug_of(uploaded_by)) == (401, "token-unknown-key")
    token = mint_access(key, access_claims(key.owner, "s01", {"rights": ("list", "delete")}))
    listed = requests.get(
        f"{target.url}/api/v1/files", headers={"Authorization": f"Bearer {token}"}, timeout=60
    )
    assert (listed.status_code, slug_of(listed)) == (401, "token-unknown-key")


def test_a_copy_is_held_and_ends_as_its_order_says(target: Agent, key: SigningKey) -> None:
    later = int(time.time()) + 86400
    lies = {"held": False, "expires_at": later - 80000}
    for said, kept in (
        ({"held": True, "expires_at": None}, (True, None)),
        ({"held": True, "expires_at": later}, (True, later)),
        ({"held": False, "expires_at": None}, (False, None)),
        # The control plane of a release before says nothing of it.
        ({"held": None, "expires_at": None}, (False, lies["expires_at"])),
    ):
        source = Source(target, key, b"x", **lies)
        proof = order(source.claims, **said)
        answer = source.put(Portside_Order=proof)
        assert answer.status_code == 201, answer.text
        stored = StoredFile.model_validate_json(answer.content)
        assert (stored.held, stored.expires_at) == kept
        receipt = verify_receipt(stored.receipt, target.node_keys)
        assert (receipt.held, receipt.expires_at) == kept
        attributes = target.root / "uploads" / attributes_path(stored.path)
        assert json.loads(attributes.read_text())["upload_token"] == proof


def test_a_damaged_copy_is_mended_as_it_was(target: Agent, key: SigningKey) -> None:
    """The push that brings its bytes back says nothing of it."""
    source = Source(target, key, CONTENT, held=True)
    assert source.put().status_code == 201
    path = target.root / "uploads" / source.claims.path
    path.write_bytes(b"damaged")
    url = f"{target.url}/api/v1/files/{source.claims.file_id}/verify"
    verified = requests.post(url, headers=access(target, rights=("verify",)), timeout=60)
    assert verified.json()["intact"] is False
    source.claims = source.claims.model_copy(update={"held": False, "expires_at": 2**32})
    answer = source.put(Portside_Order="")
    assert answer.status_code == 201, answer.text
    stored = StoredFile.model_validate_json(answer.content)
    assert (stored.held, stored.expires_at) == (True, None)


def test_the_token_that_a_file_was_uploaded_with_lets_it_be_copied_however_late(
    target: Agent, key: SigningKey
) -> None:
    source = Source(target, key, CONTENT)
    token = mint_upload(ISSUER, uploaded(source.claims, replicas=("s01",), exp=1, nbf=1))
    assert source.put(Portside_Order=token).status_code == 201
    # What is there needs no order: its receipt is all that comes of it.
    assert source.put(Portside_Order="").status_code == 200


def test_a_copy_is_looked_at_as_an_upload_is(target: Agent, key: SigningKey) -> None:
    before = target.leftovers()
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    for name, content in (("a.html", b"x"), ("a.svg", b"x"), ("page.bin.txt.png", page)):
        source = Source(target, key, content, name=name, path=f"isos/{name}")
        for proof in (order(source.claims), mint_upload(ISSUER, uploaded(source.claims))):
            answer = source.put(Portside_Order=proof)
            assert (answer.status_code, slug_of(answer)) == (415, "type-refused"), name
    # Also in pieces too small to tell.
    source = Source(target, key, page, name="b.png", path="isos/b.png")
    assert source.put(page[:1], Content_Range=f"bytes 0-0/{len(page)}").status_code == 204
    answer = source.put_from(1)
    assert (answer.status_code, slug_of(answer)) == (415, "type-refused")
    assert target.leftovers() == before


def uploaded(claims: ReplicateClaims, signer: SigningKey = ISSUER, **changed: Any) -> UploadClaims:
    """What the copy's file was uploaded with."""
    same = {
        name: getattr(claims, name)
        for name in ("jti", "file_id", "namespace", "name", "content_type")
    }
    said = {"sub": claims.owner, "layout": "named", **same, **changed}
    return upload_claims(signer.owner, claims.iss, said)
