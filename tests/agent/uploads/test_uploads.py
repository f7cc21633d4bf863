"""What goes in comes out: whole files, sent every way a client may send them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from portside.quantities import KIB, MIB
from portside.tokens import verify_receipt
from portside.wire.files import StoredFile
from tests.support.agent.process import NODE_ID, SMALL_NODE, Agent, slug_of

RING = SMALL_NODE.ring_buffer


def _stored(response: requests.Response) -> StoredFile:
    assert response.status_code == 201, response.text
    return StoredFile.model_validate_json(response.text)


def _content(agent: Agent, stored: StoredFile) -> bytes:
    return (agent.root / "uploads" / stored.path).read_bytes()


@pytest.mark.parametrize(
    "length",
    [0, 1, 4095, 4096, 4097, RING - 1, RING, RING + 1, 4 * RING, 4 * RING + 1, 9 * RING + 5000],
)
def test_a_raw_body_is_stored_byte_for_byte(shared_agent: Agent, length: int) -> None:
    data = os.urandom(length)
    stored = _stored(shared_agent.put("disk.bin", data))
    assert _content(shared_agent, stored) == data
    assert stored.size == length
    assert stored.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("length", [0, 1, RING // 4, RING, 5 * RING + 77])
def test_a_form_is_stored_byte_for_byte(shared_agent: Agent, length: int) -> None:
    # Bytes that look like a boundary, to catch a parser that lets go of them.
    data = (b"\r\n--" + os.urandom(29)) * (length // 33) + b"\r" * (length % 33)
    stored = _stored(shared_agent.post("disk.bin", data))
    assert _content(shared_agent, stored) == data


def test_a_chunked_body_is_stored_byte_for_byte(shared_agent: Agent) -> None:
    pieces = [os.urandom(size) for size in (1, 100, 70_000, RING, 3)]

    def chunks() -> Iterator[bytes]:
        yield from pieces

    stored = _stored(shared_agent.put("disk.bin", chunks()))
    assert _content(shared_agent, stored) == b"".join(pieces)


def test_a_form_may_carry_small_fields_before_the_file(shared_agent: Agent) -> None:
    response = requests.post(
        f"{shared_agent.url}/api/internal/upload",
        data={"comment": "x" * 1000},
        files={"file": ("a.bin", b"content")},
        headers={"Authorization": f"Bearer {shared_agent.mint()}"},
        timeout=60,
    )
    assert _content(shared_agent, _stored(response)) == b"content"


def test_the_receipt_is_the_nodes_word_for_what_was_stored(shared_agent: Agent) -> None:
    claims = shared_agent.claims(size=7)
    stored = _stored(shared_agent.put("a.bin", b"content", shared_agent.mint(**dict(claims))))
    receipt = verify_receipt(stored.receipt, shared_agent.node_keys)
    assert receipt.iss == NODE_ID
    assert receipt.jti == claims.jti
    assert receipt.copies == (NODE_ID,)
    for field in ("file_id", "path", "size", "sha256", "committed_at"):
        assert getattr(receipt, field) == getattr(stored, field)


def test_the_nodes_key_is_published_to_check_receipts_with(shared_agent: Agent) -> None:
    published = requests.get(f"{shared_agent.url}/api/v1/system/keys", timeout=60).json()
    assert [key["x"] for key in published["keys"]] == [shared_agent.node_keys.keys[0].x]
    assert "d" not in published["keys"][0]


def test_a_dated_file_lies_under_its_hour_with_owner_time_and_id(shared_agent: Agent) -> None:
    stored = _stored(shared_agent.put("Debian%2013.iso.bin", b"x"))
    when = stored.committed_at
    assert re.fullmatch(
        rf"isos/{when:%Y/%m/%d/%H}/Debian_13\.iso_user-7_{when:%Y%m%dT%H%M%S}_[0-9a-f]{{8}}\.bin",
        str(stored.path),
    )
    assert stored.direct_url == f"https://{NODE_ID}.portside.test/uploads/{stored.path}"


def test_a_named_file_lies_where_its_name_says_and_is_never_replaced(shared_agent: Agent) -> None:
    first = _stored(shared_agent.put("one.bin", b"first", shared_agent.mint(layout="named")))
    assert str(first.path) == "isos/one.bin"
    second = shared_agent.put("one.bin", b"second", shared_agent.mint(layout="named"))
    assert (second.status_code, slug_of(second)) == (409, "name-taken")
    assert _content(shared_agent, first) == b"first"


def test_the_tokens_name_wins_over_the_urls(shared_agent: Agent) -> None:
    token = shared_agent.mint(name="chosen.bin", layout="named")
    assert str(_stored(shared_agent.put("other.bin", b"x", token)).path) == "isos/chosen.bin"


def test_a_forms_own_name_is_used_when_nothing_else_names_it(shared_agent: Agent) -> None:
    token = shared_agent.mint(layout="named")
    assert (
        str(_stored(shared_agent.post("from form.bin", b"x", token)).path) == "isos/from_form.bin"
    )


def test_attributes_lie_beside_the_file_and_fit_one_block(shared_agent: Agent) -> None:
    token = shared_agent.mint(name="ü" * 300 + ".bin", sub="ö" * 128, jti="j" * 128)
    stored = _stored(shared_agent.put("x", b"x", token))
    beside = shared_agent.root / "uploads" / f"{stored.path}.attr.json"
    assert beside.stat().st_size <= 4 * KIB
    attributes = json.loads(beside.read_text())
    assert attributes["jti"] == "j" * 128
    assert attributes["receipt"] == stored.receipt


def test_a_stored_file_is_described_under_its_id(shared_agent: Agent) -> None:
    response = shared_agent.put("a.bin", b"x")
    stored = _stored(response)
    found = requests.get(f"{shared_agent.url}/api/v1/files/{stored.file_id}", timeout=60)
    assert found.json() == {**response.json(), "copies": []}
    missing = requests.get(f"{shared_agent.url}/api/v1/files/{'0' * 32}", timeout=60)
    assert (missing.status_code, slug_of(missing)) == (404, "not-found")


def test_the_endpoint_answers_head_and_options(shared_agent: Agent) -> None:
    for method in ("HEAD", "OPTIONS"):
        for path in ("", "/name.iso"):
            url = f"{shared_agent.url}/api/internal/upload{path}"
            assert requests.request(method, url, timeout=60).status_code == 204


def test_a_connection_serves_one_upload_after_another(shared_agent: Agent) -> None:
    with requests.Session() as session:
        for number in range(3):
            session.headers["Authorization"] = f"Bearer {shared_agent.mint()}"
            url = f"{shared_agent.url}/api/internal/upload/{number}.bin"
            data = os.urandom(RING + number)
            stored = _stored(session.put(url, data=data, timeout=60))
            assert _content(shared_agent, stored) == data


def test_memory_does_not_grow_with_the_file(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(anew=True)
    agent.start()
    _stored(agent.put("small.bin", os.urandom(MIB)))
    before = _resident(agent)
    _stored(agent.put("large.bin", io.BytesIO(bytes(256 * MIB))))
    assert _resident(agent) - before < 8 * MIB


def test_an_upload_gives_its_memory_back(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(anew=True)
    agent.start()

    def held() -> int:
        status = Path(f"/proc/{agent.worker_pid()}/status").read_text()
        return sum(int(kib) for kib in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+) kB", status)) * KIB

    _stored(agent.put("a.bin", os.urandom(5 * RING)))
    before = held()
    for _ in range(6):
        _stored(agent.put("a.bin", os.urandom(5 * RING)))
    assert held() - before < SMALL_NODE.upload_memory


def _resident(agent: Agent) -> int:
    status = Path(f"/proc/{agent.worker_pid()}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    return int(peak[1]) * KIB


def test_status_tells_the_numbers_that_admission_uses(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    connection = agent.open_put("slow.bin", 4 * RING)
    agent.wait_for_uploads(1)
    status = agent.status()
    slots = SMALL_NODE.upload_slots
    shares = {"per_token": 1000, "per_owner": slots, "per_address": slots, "gave_way": 0}
    assert status["slots"] == {"used": 1, "limit": slots, **shares}
    assert status["memory"]["reserved"] == SMALL_NODE.upload_memory
    assert status["accepting"] is True
    connection.close()


def test_content_that_is_right_is_taken_however_it_is_named(shared_agent: Agent) -> None:
    universal = bytearray(40_000)
    universal[32769:32774], universal[34817:34822] = b"BEA01", b"NSR02"
    for name, content in (
        ("Film.ISO", bytes(universal)),
        ("paper.Pdf.", b"\xef\xbb\xbf%PDF-1.7"),
        ("table.csv%20", b"<b>name</b>,size"),
    ):
        response = shared_agent.put(name, content)
        assert response.status_code == 201, response.text
