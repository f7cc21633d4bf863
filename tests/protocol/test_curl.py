"""curl through nginx: both dialects by hand, as a script on a server would speak them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portside.quantities import MIB
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import (
    IETF_MEDIA,
    TUS_MEDIA,
    Answer,
    Ietf,
    Talker,
    Tus,
    metadata,
)

Curl = Callable[..., Answer]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(node: Node) -> Iterator[None]:
    yield
    check_nothing_left_behind(node.agent)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(3 * MIB + 33))
    return path


@pytest.fixture
def curl(node: Node, tmp_path: Path) -> Curl:
    """Runs curl with a talker's token: method, URL, headers, further arguments."""

    def run(talker: Talker, method: str, url: str, headers: dict[str, str], *more: str) -> Answer:
        body, head = tmp_path / "answer", tmp_path / "head"
        body.write_bytes(b"")
        command = ["curl", "--silent", "--show-error", "--max-time", "60", "--ipv4"]
        command += ["--cacert", str(node.ca), "--output", str(body), "--dump-header", str(head)]
        command += ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in {"Authorization": f"Bearer {talker.token}", **headers}.items():
            command += ["--header", f"{name}: {value}"]
        subprocess.run([*command, *more, url], check=True, timeout=90)
        return _read(head.read_text(), b"" if method == "HEAD" else body.read_bytes())

    return run


def _read(head: str, body: bytes) -> Answer:
    # An interim "100 Continue" comes before the answer.
    last = head.replace("\r\n", "\n").strip().split("\n\n")[-1]
    first, *lines = last.splitlines()
    pairs = (line.partition(":") for line in lines)
    return Answer(int(first.split()[1]), {n.title(): v.strip() for n, _, v in pairs}, body)


def _part(source: Path, start: int, end: int | None = None) -> Path:
    path = source.with_name(f"part-{start}")
    path.write_bytes(source.read_bytes()[start:end])
    return path


def test_tus_by_hand(node: Node, curl: Curl, source: Path) -> None:
    talker = Tus(node.agent, name=None)
    tus = {"Tus-Resumable": "1.0.0"}
    size = source.stat().st_size

    options = curl(talker, "OPTIONS", node.uploads, {})
    assert options.status == 204
    assert options.headers["Tus-Version"] == "1.0.0"
    assert set(options.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "termination",
        "concatenation",
    }
    assert options.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert int(options.headers["Tus-Max-Size"]) > size

    named = {**tus, "Upload-Length": str(size), "Upload-Metadata": metadata(filename="a.bin")}
    created = curl(talker, "POST", node.uploads, named)
    assert (created.status, created.headers["Tus-Resumable"]) == (201, "1.0.0")
    url = created.headers["Location"]
    assert url.startswith(f"{node.uploads}/")

    first = _part(source, 0, 1 * MIB)
    headers = {**tus, "Content-Type": TUS_MEDIA}
    appended = curl(
        talker, "PATCH", url, {**headers, "Upload-Offset": "0"}, "--data-binary", f"@{first}"
    )
    assert (appended.status, appended.headers["Upload-Offset"]) == (204, str(1 * MIB))
    assert "Upload-Expires" in appended.headers
    assert files_of(talker) == []

    head = curl(talker, "HEAD", url, tus)
    assert head.status == 200
    assert head.headers["Upload-Offset"] == str(1 * MIB)
    assert head.headers["Upload-Length"] == str(size)
    assert head.headers["Upload-Metadata"] == metadata(filename="a.bin")
    assert head.headers["Cache-Control"] == "no-store"
    assert "Upload-Expires" in head.headers

    rest = _part(source, 1 * MIB)
    # Chunked, with "Expect: 100-continue": curl doesn't know how much a pipe will give.
    last = curl(
        talker,
        "PATCH",
        url,
        {
            **headers,
            "Upload-Offset": str(1 * MIB),
            "Transfer-Encoding": "chunked",
            "Accept": "application/json",
        },
        "--upload-file",
        str(rest),
    )
    assert (last.status, last.headers["Upload-Offset"]) == (200, str(size))
    check_stored(talker, last.body, source.read_bytes())
    assert curl(talker, "HEAD", url, tus).headers["Upload-Offset"] == str(size)


def test_the_last_answer_of_tus_has_no_body_and_says_where_the_file_is(
    node: Node, curl: Curl, source: Path
) -> None:
    talker = Tus(node.agent)
    tus = {"Tus-Resumable": "1.0.0"}
    size = source.stat().st_size
    created = curl(talker, "POST", node.uploads, {**tus, "Upload-Length": str(size)})
    last = curl(
        talker,
        "PATCH",
        created.headers["Location"],
        {**tus, "Content-Type": TUS_MEDIA, "Upload-Offset": "0"},
        "--data-binary",
        f"@{source}",
    )
    assert (last.status, last.body) == (204, b"")
    assert last.headers["Upload-Offset"] == str(size)
    place = f"{node.url}/api/v1/files/{talker.claims.file_id}"
    assert last.headers["Content-Location"] == place
    # Whose answer was lost creates the upload once more.
    again = curl(talker, "POST", node.uploads, {**tus, "Upload-Length": str(size)})
    assert again.headers["Location"] == created.headers["Location"]
    check_stored(talker, again.body, source.read_bytes())


@pytest.mark.parametrize("version", ["6", "8", None])
def test_the_ietf_draft_by_hand(node: Node, curl: Curl, source: Path, version: str | None) -> None:
    talker = Ietf(node.agent)
    common = {} if version is None else {"Upload-Draft-Interop-Version": version}
    size = source.stat().st_size

    created = curl(talker, "POST", node.uploads, {**common, "Upload-Complete": "?0"})
    assert created.status == 201
    assert created.headers["Upload-Offset"] == "0"
    assert created.headers["Upload-Complete"] == "?0"
    assert "Upload-Limit" in created.headers
    url = created.headers["Location"]

    first = _part(source, 0, 2 * MIB)
    media = {**common, "Content-Type": IETF_MEDIA}
    appended = curl(
        talker,
        "PATCH",
        url,
        {**media, "Upload-Complete": "?0", "Upload-Offset": "0"},
        "--data-binary",
        f"@{first}",
    )
    assert appended.status == 204
    assert appended.headers["Upload-Offset"] == str(2 * MIB)
    assert appended.headers["Upload-Complete"] == "?0"

    head = curl(talker, "HEAD", url, common)
    assert head.status == 204
    assert head.headers["Upload-Offset"] == str(2 * MIB)
    assert head.headers["Upload-Complete"] == "?0"
    assert "Upload-Limit" in head.headers
    assert head.headers["Cache-Control"] == "no-store"

    behind = curl(
        talker,
        "PATCH",
        url,
        {**media, "Upload-Complete": "?1", "Upload-Offset": "1"},
        "--data-binary",
        "x",
    )
    assert (behind.status, behind.headers["Upload-Complete"]) == (409, "?0")
    document = json.loads(behind.body)
    assert (document["expected-offset"], document["provided-offset"]) == (2 * MIB, 1)

    rest = _part(source, 2 * MIB)
    last = curl(
        talker,
        "PATCH",
        url,
        {**media, "Upload-Complete": "?1", "Upload-Offset": str(2 * MIB)},
        "--data-binary",
        f"@{rest}",
    )
    assert last.status == 200
    check_stored(talker, last.body, source.read_bytes())
    after = curl(talker, "HEAD", url, common)
    assert (after.headers["Upload-Offset"], after.headers["Upload-Complete"]) == (str(size), "?1")


@pytest.mark.parametrize("version", ["6", "8", None])
def test_a_whole_file_in_one_post_of_the_ietf_draft(
    node: Node, curl: Curl, source: Path, version: str | None
) -> None:
    talker = Ietf(node.agent, name=None)
    common = {} if version is None else {"Upload-Draft-Interop-Version": version}
    whole = curl(
        talker,
        "POST",
        node.uploads,
        {
            **common,
            "Upload-Complete": "?1",
            "Content-Type": "application/octet-stream",
            "Content-Disposition": "attachment; filename=\"x.bin\"; filename*=UTF-8''f%C3%BCr.bin",
        },
        "--data-binary",
        f"@{source}",
    )
    assert (whole.status, whole.headers["Upload-Complete"]) == (201, "?1")
    stored = check_stored(talker, whole.body, source.read_bytes())
    assert stored.name == "für.bin"


def test_parts_and_a_final_by_hand(node: Node, curl: Curl, source: Path) -> None:
    talker = Tus(node.agent)
    tus = {"Tus-Resumable": "1.0.0"}
    urls = []
    for part in (_part(source, 0, 1 * MIB + 1), _part(source, 1 * MIB + 1)):
        headers = {**tus, "Upload-Concat": "partial", "Upload-Length": str(part.stat().st_size)}
        created = curl(talker, "POST", node.uploads, headers)
        urls.append(created.headers["Location"])
        appended = curl(
            talker,
            "PATCH",
            urls[-1],
            {**tus, "Content-Type": TUS_MEDIA, "Upload-Offset": "0"},
            "--data-binary",
            f"@{part}",
        )
        assert appended.status == 204
        head = curl(talker, "HEAD", urls[-1], tus)
        assert head.headers["Upload-Concat"] == "partial"
    assert files_of(talker) == []
    # The specification's example has relative URLs.
    concat = f"final;{urls[0]} {urls[1].removeprefix(node.url)}"
    final = curl(talker, "POST", node.uploads, {**tus, "Upload-Concat": concat})
    assert final.status == 201
    check_stored(talker, final.body, source.read_bytes())
    head = curl(talker, "HEAD", final.headers["Location"], tus)
    assert head.status == 200
    assert head.headers["Upload-Concat"].startswith("final;")
    assert head.headers["Upload-Offset"] == str(source.stat().st_size)
    refused = curl(
        talker,
        "PATCH",
        final.headers["Location"],
        {**tus, "Content-Type": TUS_MEDIA, "Upload-Offset": "0"},
        "--data-binary",
        "x",
    )
    assert (refused.status, refused.slug) == (403, "upload-complete")


def test_a_termination_by_hand(node: Node, curl: Curl) -> None:
    talker = Tus(node.agent)
    tus = {"Tus-Resumable": "1.0.0"}
    url = curl(talker, "POST", node.uploads, {**tus, "Upload-Length": "10"}).headers["Location"]
    assert curl(talker, "DELETE", url, tus).status == 204
    assert curl(talker, "HEAD", url, tus).status in (404, 410)
