"""Resumable uploads on a real node: what was told is kept, nothing is done twice, nothing waits.

The dialects' own rules are in `tests/protocol`; this is about disks, crashes and space.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
import sqlite3
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.index.database import Database
from agent.index.uploads import UploadIndex
from portside.quantities import GIB, KIB, MIB
from tests.support.agent.interruption import injected
from tests.support.agent.process import SMALL_NODE, Agent, first_line, slug_of
from tests.support.loopback import wait_until, wait_until_read

BYTES = "application/offset+octet-stream"


class Client:
    """One token's uploads, spoken as tus."""

    def __init__(self, agent: Agent, **claims: Any) -> None:
        self.agent = agent
        self.claims = agent.claims(**{"name": "a.bin", **claims})
        self.token = agent.mint(**dict(self.claims))

    def ask(self, method: str, url: str, body: Any = b"", **headers: str) -> requests.Response:
        sent = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, url, data=body, headers=sent, timeout=60)

    def create(self, length: int, **headers: str) -> str:
        answer = self.ask(
            "POST", f"{self.agent.url}/api/v1/uploads", Upload_Length=str(length), **headers
        )
        assert answer.status_code == 201, answer.text
        return f"{self.agent.url}/api/v1/uploads/{answer.headers['Location'].rpartition('/')[2]}"

    def append(self, url: str, offset: int, body: Any, **headers: str) -> requests.Response:
        return self.ask(
            "PATCH", url, body, Upload_Offset=str(offset), Content_Type=BYTES, **headers
        )

    def offset(self, url: str) -> int:
        answer = self.ask("HEAD", url)
        assert answer.status_code == 200
        return int(answer.headers["Upload-Offset"])

    def join(self, urls: list[str]) -> requests.Response:
        collection = f"{self.agent.url}/api/v1/uploads"
        return self.ask("POST", collection, Upload_Concat=f"final;{' '.join(urls)}")

    def open_append(self, url: str, offset: int, length: int) -> socket.socket:
        """A connection on which an append's head is sent and its body isn't."""
        connection = socket.create_connection(("127.0.0.1", self.agent.port), timeout=60)
        path = url.removeprefix(self.agent.url)
        connection.sendall(
            (
                f"PATCH {path} HTTP/1.1\r\nHost: agent\r\nTus-Resumable: 1.0.0\r\n"
                f"Authorization: Bearer {self.token}\r\nContent-Type: {BYTES}\r\n"
                f"Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
            ).encode()
        )
        return connection


def _content(agent: Agent) -> bytes:
    files = agent.visible_files()
    assert len(files) == 1
    return files[0].read_bytes()


@pytest.mark.parametrize("pieces", [[1, 4095, 4096, 4097, 300_000], [700_001, 1, 1, 500_000]])
def test_odd_pieces_become_the_file(agent: Agent, pieces: list[int]) -> None:
    data = os.urandom(sum(pieces))
    client, offset = Client(agent), 0
    url = client.create(len(data))
    for piece in pieces:
        answer = client.append(url, offset, data[offset : offset + piece])
        offset += piece
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(offset))
    assert _content(agent) == data
    stored = requests.get(f"{agent.url}/api/v1/files/{client.claims.file_id}", timeout=60).json()
    assert stored["sha256"] == hashlib.sha256(data).hexdigest()
    assert agent.leftovers() == []


def test_bytes_of_a_cut_connection_are_kept(agent: Agent) -> None:
    data, client = os.urandom(3 * MIB), Client(agent)
    url = client.create(len(data))
    connection = client.open_append(url, 0, len(data))
    connection.sendall(data[: 2 * MIB + 77])
    connection.close()
    _wait_for_offset(agent, client, 2 * MIB + 77)
    assert client.offset(url) == 2 * MIB + 77
    assert client.append(url, 2 * MIB + 77, data[2 * MIB + 77 :]).status_code == 204
    assert _content(agent) == data


def test_after_a_crash_an_upload_goes_on_where_the_disk_is(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(sizing=replace(SMALL_NODE, sync_window=1 * MIB))
    agent.start()
    data, client = os.urandom(12 * MIB), Client(agent)
    url = client.create(len(data))
    assert client.append(url, 0, data[:MIB]).headers["Upload-Offset"] == str(MIB)
    connection = client.open_append(url, MIB, len(data) - MIB)
    connection.sendall(data[MIB : 10 * MIB])
    _wait_for_offset(agent, client, 6 * MIB)
    agent.kill()
    connection.close()
    agent.start()
    offset = client.offset(url)
    # Windows were recorded on the way: what is sent again is two of them at most.
    assert 6 * MIB <= offset <= 10 * MIB
    assert client.append(url, offset, data[offset:]).status_code == 204
    assert _content(agent) == data
    assert agent.leftovers() == []


def _wait_for_offset(agent: Agent, client: Client, offset: int) -> None:
    """Wait until the index has recorded it; a HEAD would end the request that is sending."""
    with closing(sqlite3.connect(agent.root / "state" / "index.sqlite")) as index:
        query, jti = "SELECT offset FROM uploads WHERE jti = ?", client.claims.jti
        wait_until(lambda: index.execute(query, (jti,)).fetchone()[0] >= offset)


def test_after_a_restart_the_beginning_is_not_read_again(agent: Agent) -> None:
    data, client = os.urandom(2 * MIB), Client(agent)
    url = client.create(len(data))
    assert client.append(url, 0, data[:MIB]).status_code == 204
    agent.kill()
    # If the first half were hashed again, its digest would show this.
    [staged] = (agent.root / "staging").glob("*.part")
    with staged.open("r+b") as file:
        file.write(b"changed")
    agent.start()
    assert client.append(url, MIB, data[MIB:]).status_code == 204
    stored = requests.get(f"{agent.url}/api/v1/files/{client.claims.file_id}", timeout=60).json()
    assert stored["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("call", "occurrence", "committed"),
    [
        ("fsync", 1, False),  # the data
        ("fdatasync", 1, True),  # the intent, in the index
        ("renameat2", 1, True),
        ("fdatasync", 2, True),  # the commit, in the index
    ],
)
def test_a_crash_at_the_end_finishes_the_file_or_leaves_it_to_be_finished(
    agent: Agent, call: str, occurrence: int, committed: bool
) -> None:
    data, client = os.urandom(MIB), Client(agent)
    url = client.create(len(data))
    assert client.append(url, 0, data[: 512 * KIB]).status_code == 204
    with (
        injected(agent, f"{call}:signal=KILL:when={occurrence}"),
        pytest.raises(requests.ConnectionError),
    ):
        client.append(url, 512 * KIB, data[512 * KIB :])
    agent.kill()
    agent.start()
    assert bool(agent.visible_files()) is committed
    offset = client.offset(url)
    assert offset == (len(data) if committed else 512 * KIB)
    if not committed:
        assert client.append(url, offset, data[offset:]).status_code == 204
    assert _content(agent) == data
    assert agent.leftovers() == []


def test_parts_in_the_order_of_their_creation_are_not_copied(agent: Agent) -> None:
    data, client = os.urandom(3 * MIB + 5), Client(agent)
    cuts = [0, MIB + 1, 2 * MIB + 2, len(data)]
    spans = list(itertools.pairwise(cuts))
    urls = [client.create(end - start, Upload_Concat="partial") for start, end in spans]
    [staged] = (agent.root / "staging").glob("*.part")
    inode = staged.stat().st_ino
    for url, (start, end) in reversed(list(zip(urls, spans, strict=True))):
        assert client.append(url, 0, data[start:end]).status_code == 204
    joined = client.join(urls)
    assert joined.status_code == 201, joined.text
    assert joined.json()["sha256"] == hashlib.sha256(data).hexdigest()
    assert _content(agent) == data
    assert agent.visible_files()[0].stat().st_ino == inode
    assert agent.leftovers() == []


def test_parts_in_another_order_are_copied_into_place(agent: Agent) -> None:
    client = Client(agent)
    content = {"first": os.urandom(70_000), "second": os.urandom(3), "third": b""}
    urls = {}
    for name in ("second", "third", "first"):
        urls[name] = client.create(len(content[name]), Upload_Concat="partial")
        assert client.append(urls[name], 0, content[name]).status_code == 204
    joined = client.join([urls["first"], urls["second"], urls["third"]])
    assert joined.status_code == 201, joined.text
    assert _content(agent) == b"".join(content.values())
    assert agent.leftovers() == []


def test_a_part_that_is_given_up_leaves_nothing_of_itself(agent: Agent) -> None:
    """Neither its blocks, which would be nobody's, nor its bytes in the digest of what follows."""
    client = Client(agent)
    urls = [client.create(MIB, Upload_Concat="partial") for _ in range(2)]
    for url, byte in zip(urls, (b"a", b"b"), strict=True):
        assert client.append(url, 0, byte * MIB).status_code == 204
    [staged] = (agent.root / "staging").glob("*.part")
    before = staged.stat().st_blocks * 512
    assert before >= 2 * MIB
    assert client.ask("DELETE", urls[1]).status_code == 204
    assert staged.stat().st_blocks * 512 <= before - MIB
    # It lies where the other one lay.
    other = client.create(MIB, Upload_Concat="partial")
    assert client.append(other, 0, b"c" * MIB).status_code == 204
    joined = client.join([urls[0], other])
    assert joined.status_code == 201
    [file] = agent.visible_files()
    assert file.read_bytes() == b"a" * MIB + b"c" * MIB
    assert joined.json()["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_parts_survive_a_crash(agent: Agent) -> None:
    data, client = os.urandom(2 * MIB), Client(agent)
    urls = [client.create(MIB, Upload_Concat="partial") for _ in range(2)]
    assert client.append(urls[0], 0, data[:MIB]).status_code == 204
    assert client.append(urls[1], 0, data[MIB : MIB + 999]).status_code == 204
    agent.kill()
    agent.start()
    assert [client.offset(url) for url in urls] == [MIB, 999]
    assert client.append(urls[1], 999, data[MIB + 999 :]).status_code == 204
    assert client.join(urls).status_code == 201
    assert _content(agent) == data


def test_a_part_that_is_numbered_can_be_created_twice(agent: Agent) -> None:
    client = Client(agent, size=6)
    numbered = [f"part {b64encode(number).decode()}" for number in (b"0", b"0", b"1")]
    urls = [client.create(3, Upload_Concat="partial", Upload_Metadata=each) for each in numbered]
    assert urls[0] == urls[1] != urls[2]
    client.append(urls[0], 0, b"abc")
    client.append(urls[2], 0, b"def")
    assert client.join([urls[0], urls[2]]).status_code == 201
    assert _content(agent) == b"abcdef"


def test_a_final_asked_for_twice_is_one_file(agent: Agent) -> None:
    client = Client(agent)
    url = client.create(5, Upload_Concat="partial")
    client.append(url, 0, b"bytes")
    first, second = client.join([url]), client.join([url])
    assert first.json()["receipt"] == second.json()["receipt"]
    assert first.headers["Location"] == second.headers["Location"]
    assert len(agent.visible_files()) == 1


def test_space_is_taken_at_the_beginning_and_given_back_at_the_end(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    agent = make_agent(root=small_disk)
    agent.start()
    client, other = Client(agent), Client(agent, name="b.bin")
    url = client.create(30 * MIB)
    refused = other.ask("POST", f"{agent.url}/api/v1/uploads", Upload_Length=str(30 * MIB))
    assert (refused.status_code, slug_of(refused)) == (507, "no-space")
    agent.kill()
    agent.start()
    refused = other.ask("POST", f"{agent.url}/api/v1/uploads", Upload_Length=str(30 * MIB))
    assert (refused.status_code, slug_of(refused)) == (507, "no-space")
    assert client.ask("DELETE", url).status_code == 204
    assert client.ask("HEAD", url).status_code == 410
    other.create(30 * MIB)


def test_promised_space_is_kept_where_the_filesystem_can_not_reserve_it(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    agent = make_agent(root=small_disk)
    agent.start()
    client = Client(agent)
    url = client.create(30 * MIB)
    assert agent.status()["disk"]["reserved"] == 30 * MIB
    refused = agent.put("b.bin", bytes(30 * MIB))
    assert (refused.status_code, slug_of(refused)) == (507, "no-space")
    with injected(agent, "fallocate:error=EOPNOTSUPP"):
        assert client.append(url, 0, bytes(10 * MIB)).status_code == 204
    assert agent.status()["disk"]["reserved"] == 20 * MIB
    assert client.append(url, 10 * MIB, bytes(20 * MIB)).status_code == 204
    assert agent.status()["disk"]["reserved"] == 0


def test_an_upload_takes_blocks_as_its_bytes_come_and_keeps_its_promise(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(settings={"max_size": 4 * GIB})
    agent.start()
    client = Client(agent, max_size=4 * GIB)
    before = agent.status()["disk"]["reserved"]
    url = client.create(4 * GIB)
    (staged,) = (agent.root / "staging").iterdir()
    assert staged.stat().st_blocks == 0
    assert agent.status()["disk"]["reserved"] - before == 4 * GIB
    assert client.append(url, 0, bytes(MIB)).status_code == 204
    taken = staged.stat().st_blocks * 512
    assert MIB <= taken <= 65 * MIB
    # What is taken is promised no more.
    assert agent.status()["disk"]["reserved"] - before == pytest.approx(4 * GIB - taken, abs=MIB)
    agent.kill()
    agent.start()
    assert agent.status()["disk"]["reserved"] - before == 4 * GIB - MIB
    assert client.append(url, MIB, bytes(MIB)).status_code == 204
    assert staged.stat().st_blocks * 512 <= 67 * MIB
    assert client.ask("DELETE", url).status_code == 204
    assert agent.status()["disk"]["reserved"] == before


def test_an_upload_whose_length_is_not_told_is_promised_little(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(settings={"max_size": 4 * GIB})
    agent.start()
    client = Client(agent, max_size=4 * GIB)
    before = agent.status()["disk"]["reserved"]
    headers = {"Upload_Defer_Length": "1"}
    begun = client.ask("POST", f"{agent.url}/api/v1/uploads", **headers)
    assert begun.status_code == 201, begun.text
    assert agent.status()["disk"]["reserved"] - before == GIB


def test_what_did_not_begin_until_its_token_ended_is_given_back(agent: Agent) -> None:
    client = Client(agent)
    before = agent.status()["disk"]["reserved"]
    now = int(time.time())
    client.create(GIB)
    index = UploadIndex(Database(agent.root / "state" / "index.sqlite"))
    (begun,) = index.open_uploads()
    assert index.overdue() == []
    with index._database.transaction() as connection:
        connection.execute(
            "UPDATE uploads SET details = json_set(details, '$.claims.exp', ?)", (now - 3600,)
        )
    assert [each.upload_id for each in index.overdue()] == [begun.upload_id]
    # Whoever ends it, the web side sees it: promises stand in the rows.
    index.end(begun.upload_id)
    assert agent.status()["disk"]["reserved"] == before


def test_parts_of_one_token_share_its_limit(agent: Agent) -> None:
    before = agent.status()["disk"]["reserved"]
    client = Client(agent, size=6)
    first, unheard, second = (client.create(3, Upload_Concat="partial") for _ in range(3))
    assert agent.status()["disk"]["reserved"] - before == 6
    assert client.append(first, 0, b"ab").status_code == 204
    assert client.append(second, 0, b"def").status_code == 204
    refused = client.append(unheard, 0, b"xyz")
    assert (refused.status_code, slug_of(refused)) == (413, "too-large")
    assert client.append(first, 2, b"c").status_code == 204
    assert client.join([first, second]).status_code == 201
    assert _content(agent) == b"abcdef"


def test_content_that_does_not_fit_its_name_ends_the_upload_however_small_its_pieces(
    agent: Agent,
) -> None:
    client = Client(agent, name="a.png")
    url = client.create(200_000)
    assert client.append(url, 0, b"<html>").status_code == 204
    refused = client.append(url, 6, bytes(100_000))
    assert (refused.status_code, slug_of(refused)) == (415, "type-refused")
    assert client.ask("HEAD", url).status_code == 410
    assert agent.leftovers() == []


def test_a_failed_sync_tells_no_offset_and_turns_the_node_read_only(agent: Agent) -> None:
    data, client = os.urandom(MIB), Client(agent)
    url = client.create(len(data))
    assert client.append(url, 0, data[:1000]).status_code == 204
    with injected(agent, "fdatasync:error=EIO:when=1"):
        failed = client.append(url, 1000, data[1000:2000])
    assert (failed.status_code, slug_of(failed)) == (500, "storage-failed")
    assert client.offset(url) == 1000
    refused = client.append(url, 1000, data[1000:])
    assert (refused.status_code, slug_of(refused)) == (503, "read-only")
    agent.kill()
    agent.start()
    assert client.append(url, 1000, data[1000:]).status_code == 204
    assert _content(agent) == data


def test_a_hanging_writer_gives_way_to_a_newer_question(agent: Agent) -> None:
    data, client = os.urandom(MIB), Client(agent)
    url = client.create(len(data))
    hanging = client.open_append(url, 0, len(data))
    hanging.sendall(data[:50_000])
    agent.wait_for_uploads(1)
    wait_until_read(hanging)
    # Were the older one not ended, this would be refused.
    assert client.offset(url) == 50_000
    assert first_line(hanging).startswith(b"HTTP/1.1 423 ")
    hanging.close()
    assert client.append(url, 50_000, data[50_000:]).status_code == 204
    assert _content(agent) == data


def test_a_creation_with_the_whole_body_may_be_repeated(agent: Agent) -> None:
    data, client = os.urandom(100_000), Client(agent)
    url = client.create(len(data))
    assert client.append(url, 0, data[:40_000]).status_code == 204
    collection = f"{agent.url}/api/v1/uploads"
    again = client.ask("POST", collection, data, Upload_Length=str(len(data)), Content_Type=BYTES)
    assert (again.status_code, again.headers["Upload-Offset"]) == (201, str(len(data)))
    assert _content(agent) == data
    other = client.ask("POST", collection, bytes(9), Upload_Length="9", Content_Type=BYTES)
    assert (other.status_code, slug_of(other)) == (409, "token-used")


def test_a_repeated_creation_with_other_content_is_a_conflict(agent: Agent) -> None:
    data, client = os.urandom(100_000), Client(agent)
    url = client.create(len(data))
    client.append(url, 0, data[:40_000])
    refused = client.ask(
        "POST",
        f"{agent.url}/api/v1/uploads",
        bytes(len(data)),
        Upload_Length=str(len(data)),
        Content_Type=BYTES,
    )
    assert (refused.status_code, slug_of(refused)) == (409, "token-used")
    assert client.offset(url) == 40_000


def test_a_whole_file_that_comes_again_after_its_end_is_compared(agent: Agent) -> None:
    data, client = os.urandom(50_000), Client(agent)
    collection, length = f"{agent.url}/api/v1/uploads", str(50_000)
    answers = [
        client.ask("POST", collection, body, Upload_Length=length, Content_Type=BYTES)
        for body in (data, data, bytes(50_000))
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    assert answers[0].json()["receipt"] == answers[1].json()["receipt"]
    assert _content(agent) == data


def test_a_name_on_its_way_is_taken(agent: Agent) -> None:
    first = Client(agent, layout="named", name="one.bin")
    first.create(10)
    second = Client(agent, layout="named", name="one.bin")
    refused = second.ask("POST", f"{agent.url}/api/v1/uploads", Upload_Length="10")
    assert (refused.status_code, slug_of(refused)) == (409, "name-taken")
    put = agent.put("one.bin", b"x", agent.mint(layout="named"))
    assert (put.status_code, slug_of(put)) == (409, "name-taken")


def test_metadata_travels_both_ways(agent: Agent) -> None:
    client = Client(agent, name=None)
    metadata = f"filename {b64encode(b'given.bin').decode()},empty "
    url = client.create(3, Upload_Metadata=metadata)
    assert client.ask("HEAD", url).headers["Upload-Metadata"] == metadata.strip()
    client.append(url, 0, b"abc")
    assert agent.visible_files()[0].name.startswith("given_")
