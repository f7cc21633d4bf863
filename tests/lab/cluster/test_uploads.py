"""The main job on real nodes: a multi-GB ISO goes in with a token and comes out byte for byte."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.quantities import GIB, MIB
from portside.wire.files import StoredFile
from tests.support.lab.control_plane import digest_on_disk, holders, wait_for
from tests.support.lab.places import ISO
from tests.support.lab.requests import UPLOAD, Answer, Node, read_answer

ORIGIN = "https://app.portside.test"


@pytest.fixture(scope="session", autouse=True)
def space_is_given_back(talk: Mapping[str, Node]) -> Iterator[None]:
    """What these tests store is gigabytes: it goes when they end."""
    yield
    with ThreadPoolExecutor() as pool:
        for namespace in ("lab", "lab-isos"):
            list(pool.map(Node.remove_files, talk.values(), repeat(namespace)))


def _stored(answer: Answer) -> StoredFile:
    assert answer.status == 201, answer.body
    return StoredFile.model_validate_json(answer.body)


def _path(stored: StoredFile) -> str:
    return f"/uploads/{stored.path}"


def test_an_iso_of_more_than_2_gib_goes_in_is_copied_and_comes_out_byte_for_byte(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], iso_sha256: str
) -> None:
    # To the smallest node.
    node_id = "s03"
    size = ISO.stat().st_size
    assert size > 2 * GIB
    put = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("portside")), "put", str(ISO), "--json"),
            *("--node", node_id, "--namespace", "lab-isos"),
            *("--cluster", str(PROJECT_ROOT / "clusters" / "lab.yaml")),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT_ROOT,
    )
    assert put.returncode == 0, put.stderr
    said = json.loads(put.stdout)
    assert said["sha256"] == iso_sha256
    assert said["url"] == f"https://c01.portside.test/f/{said['file_id']}/{ISO.name}"
    assert said["direct_url"].startswith(f"https://{node_id}.portside.test/uploads/lab-isos/")
    node = talk[node_id]
    path = said["direct_url"].removeprefix(f"https://{node.host}")
    assert node.download_digest(path) == (size, iso_sha256)
    middle = node.ask("GET", path, headers={"Range": f"bytes={2 * GIB}-{2 * GIB + 99}"})
    assert middle.status == 206
    assert middle.headers["Content-Range"] == f"bytes {2 * GIB}-{2 * GIB + 99}/{size}"
    with ISO.open("rb") as file:
        file.seek(2 * GIB)
        assert middle.body == file.read(100)
    relative = path.removeprefix("/uploads/")
    (copied_to,) = wait_for(
        "a second node has it", 180, lambda: holders(nodes, relative) - {node_id} or None
    )
    assert digest_on_disk(nodes[copied_to], relative) == iso_sha256


def test_a_stored_file_is_served_with_the_headers_a_browser_needs(talk: Mapping[str, Node]) -> None:
    node = talk["s01"]
    stored = _stored(node.put("a.bin", b"content"))
    answer = node.ask("GET", _path(stored), headers={"Origin": ORIGIN})
    assert (answer.status, answer.body) == (200, b"content")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "immutable" in answer.headers["Cache-Control"]
    again = node.ask("GET", _path(stored), headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    stranger = node.ask("GET", _path(stored), headers={"Origin": "https://evil.example"})
    assert stranger.headers["Access-Control-Allow-Origin"] is None


def test_a_browser_may_ask_before_it_uploads(talk: Mapping[str, Node]) -> None:
    answer = talk["s01"].ask(
        "OPTIONS",
        UPLOAD,
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_attributes_folders_and_the_agents_inside_are_not_served(talk: Mapping[str, Node]) -> None:
    node = talk["s01"]
    stored = _stored(node.put("a.bin", b"content"))
    for path in (
        f"{_path(stored)}.attr.json",
        "/uploads/",
        "/uploads/lab",
        "/uploads/lab/",
        "/uploads/../staging/",
        "/internal/preflight",
        "/_preflight",
    ):
        answer = node.ask("GET", path)
        assert answer.status in (400, 404), path
        assert answer.slug in ("not-found", "malformed-request")


def test_a_form_goes_through(talk: Mapping[str, Node]) -> None:
    node = talk["s02"]
    content = os.urandom(5 * MIB)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="form.bin"\r\n\r\n'
    answer = node.ask(
        "POST",
        UPLOAD,
        head + content + b"\r\n--b--\r\n",
        {
            "Authorization": f"Bearer {node.mint()}",
            "Content-Type": "multipart/form-data; boundary=b",
        },
    )
    stored = _stored(answer)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert node.ask("GET", _path(stored)).body == content


def test_a_chunked_body_goes_through(talk: Mapping[str, Node]) -> None:
    node = talk["s02"]
    pieces = [os.urandom(300_000) for _ in range(10)]
    stored = _stored(node.put("a.bin", iter(pieces)))
    assert node.ask("GET", _path(stored)).body == b"".join(pieces)


def test_twenty_uploads_at_once_to_the_smallest_node_all_succeed(talk: Mapping[str, Node]) -> None:
    node = talk["s03"]
    content = os.urandom(48 * MIB)
    expected = hashlib.sha256(content).hexdigest()
    connections = [
        node.open_put(f"{number}.bin", len(content), node.mint(size=len(content)))
        for number in range(20)
    ]
    half = len(content) // 2
    for connection in connections:
        connection.sendall(content[:half])
    # All twenty are half-way soon: none was put off until another had ended.
    for _ in range(240):
        status = json.loads(node.ask("GET", "/api/v1/system/upload-status").body)
        if status["slots"]["used"] == 20:
            break
        time.sleep(0.25)
    assert status["slots"]["used"] == 20

    def finish(number: int) -> StoredFile:
        connections[number].sendall(content[half:])
        return _stored(read_answer(connections[number]))

    with ThreadPoolExecutor(20) as pool:
        stored = list(pool.map(finish, range(20)))
    for connection in connections:
        connection.close()
    assert {each.sha256 for each in stored} == {expected}
    assert len({each.path for each in stored}) == 20


def test_a_refusal_in_mid_body_is_heard(talk: Mapping[str, Node]) -> None:
    # The content shows only once it comes: the client is sending when the answer is given.
    answer = talk["s01"].put("picture.png", b"GIF89a" + os.urandom(64 * MIB))
    assert (answer.status, answer.slug) == (415, "type-refused")


def test_plain_http_leads_to_https(talk: Mapping[str, Node]) -> None:
    connection = http.client.HTTPConnection(talk["s01"].host, timeout=60)
    connection.request("GET", "/uploads/x")
    response = connection.getresponse()
    assert response.status == 301
    assert response.headers["Location"] == f"https://{talk['s01'].host}/uploads/x"
    connection.close()
