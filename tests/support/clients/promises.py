"""What every client is promised: five promises, each checked in one place whoever the client is.

A client is whatever sends a request and gives back the answer (`Client`). Resuming is done as an
app does it that has nothing but an HTTP library: tus 1.0 by hand, and Range with If-Range.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import pytest

from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.protocol.checks import check_stored, files_of
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import TUS_MEDIA, Answer, Tus, metadata

NAME = "Größe 名前.bin"
"""As people name files: letters beyond ASCII and beyond Latin-1, and a space."""

STORED_NAME = "Größe_名前.bin"

CUT = 3 * MIB
"""The byte of an upload or a download at which the line breaks."""

SLACK = 1 * MIB
"""What may be sent again: it was on its way when the line broke. And headers, and TLS."""


class LineCut(Exception):
    """A client's request got no answer, or no whole one."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: a file from an offset on, or the same as a form's `file`."""

    file: Path
    offset: int = 0
    form: bool = False


class Client(Protocol):
    """Sends one request."""

    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        save: Path | None = None,
    ) -> Answer:
        """The answer; what its body has is written to `save` as it comes. Raises LineCut."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upload that a node refuses, and what the client is to read."""

    status: int
    slug: str
    name: str = NAME
    claims: Mapping[str, Any] = field(default_factory=dict)
    token: bool = True


REFUSALS = (
    Refusal(413, "too-large", claims={"max_size": 1 * MIB}),
    Refusal(415, "type-refused", name="page.html"),
    Refusal(401, "token-missing", token=False),
)


def upload_of(node: Node, **claims: Any) -> Tus:
    """An upload whose name is the client's to say, and the file's name on disk."""
    return Tus(node.agent, base=node.url, **{"name": None, "layout": "named", **claims})


def form_url(node: Node) -> str:
    """Where forms go."""
    return f"{node.url}/api/internal/upload"


def put_url(node: Node, name: str = NAME) -> str:
    """Where a raw body goes."""
    return f"{node.url}/api/internal/upload/{quote(name)}"


def authorization(upload: Tus) -> dict[str, str]:
    """The header that carries the upload's token."""
    return {"Authorization": f"Bearer {upload.token}"}


def check_file(upload: Tus, source: Path) -> None:
    """The upload's one file is stored as it was sent, under its name."""
    (stored,) = files_of(upload)
    assert stored.name == STORED_NAME
    with stored.open("rb") as left, source.open("rb") as right:
        digests = [hashlib.file_digest(each, "sha256").hexdigest() for each in (left, right)]
    assert digests[0] == digests[1]


def check_refused(answer: Answer, refusal: Refusal) -> None:
    """The client has read the refusal: its status, its type, and words for people."""
    assert (answer.status, answer.slug) == (refusal.status, refusal.slug)
    assert b'"detail"' in answer.body


def check_whole_upload(client: Client, node: Node, source: Path, *, form: bool) -> None:
    """A file is stored under its name, and the answer tells of it."""
    upload = upload_of(node)
    url, method = (form_url(node), "POST") if form else (put_url(node), "PUT")
    answer = client(method, url, authorization(upload), Body(source, form=form))
    assert answer.status == 201, answer
    check_stored(upload, answer.body, source.read_bytes())
    check_file(upload, source)


def check_tus_upload(client: Client, node: Node, source: Path) -> None:
    """A file is stored under the name in its metadata: tus by hand."""
    upload = upload_of(node)
    created = _create(client, node, upload, source)
    assert created.status == 201, created
    headers = {**_tus(upload), "Content-Type": TUS_MEDIA, "Upload-Offset": "0"}
    last = client("PATCH", created.headers["Location"], headers, Body(source))
    assert (last.status, last.headers["Upload-Offset"]) == (204, str(source.stat().st_size))
    check_file(upload, source)


def check_tus_refusals(client: Client, node: Node, source: Path) -> None:
    """Refusals of an upload's creation are read."""
    for refusal in REFUSALS:
        upload = upload_of(node, **refusal.claims)
        check_refused(_create(client, node, upload, source, refusal), refusal)


def _tus(upload: Tus) -> dict[str, str]:
    return {**authorization(upload), "Tus-Resumable": "1.0.0"}


def _create(
    client: Client, node: Node, upload: Tus, source: Path, refusal: Refusal | None = None
) -> Answer:
    headers = {
        **_tus(upload),
        "Upload-Length": str(source.stat().st_size),
        "Upload-Metadata": metadata(filename=refusal.name if refusal else source.name),
    }
    if refusal is not None and not refusal.token:
        del headers["Authorization"]
    return client("POST", node.uploads, headers)


def check_resumed_upload(client: Client, node: Node, line: CuttingProxy, source: Path) -> None:
    """An upload goes on where the line broke: tus by hand."""
    upload = upload_of(node)
    size = source.stat().st_size
    created = _create(client, node, upload, source)
    assert created.status == 201, created
    url = created.headers["Location"]
    tus = _tus(upload)
    media = {**tus, "Content-Type": TUS_MEDIA}
    line.cut_after("up", CUT)
    try:
        again = client("PATCH", url, {**media, "Upload-Offset": "0"}, Body(source))
    except LineCut:
        sent_again = 0
    else:
        # A browser sends a request again whose connection breaks before the answer.
        assert (again.status, again.slug) == (409, "offset-mismatch")
        sent_again = size
    offset = int(client("HEAD", url, tus).headers["Upload-Offset"])
    assert CUT - SLACK <= offset < size, offset
    last = client("PATCH", url, {**media, "Upload-Offset": str(offset)}, Body(source, offset))
    assert last.status == 204, last
    assert line.carried("up") <= size + sent_again + SLACK
    check_file(upload, source)


def check_refusals(
    client: Client, node: Node, source: Path, *, form: bool, bare: Collection[int] = ()
) -> None:
    """Refusals of a whole file are read by the client that still sends it.

    `bare`: statuses of which the client doesn't show what comes with them.
    """
    for refusal in REFUSALS:
        upload = upload_of(node, **refusal.claims)
        sent = source.with_name(refusal.name)
        if sent != source:
            sent.write_bytes(source.read_bytes())
        url, method = (form_url(node), "POST") if form else (put_url(node, refusal.name), "PUT")
        headers = authorization(upload) if refusal.token else {}
        answer = client(method, url, headers, Body(sent, form=form))
        if answer.status == refusal.status and answer.status in bare:
            continue
        check_refused(answer, refusal)
        assert files_of(upload) == []


@dataclass(frozen=True, slots=True)
class Download:
    """A stored file that is to be downloaded."""

    content: bytes
    stored: StoredFile

    @property
    def url(self) -> str:
        """The URL that lasts."""
        return self.stored.url


def stored_text(node: Node, name: str = "Größe 名前.txt") -> Download:
    """8 MiB of text in a file with a name of its own."""
    content = b"".join(b"%08d\n" % number for number in range(1_000_000))
    upload = upload_of(node)
    answer = node.agent.put(quote(name), content, upload.token)
    return Download(content, StoredFile.model_validate_json(answer.content))


def check_download(client: Client, node: Node, folder: Path) -> None:
    """A file comes as it was stored, with its type, and with its name."""
    download = stored_text(node)
    saved = folder / "saved"
    answer = client("GET", download.url, {}, save=saved)
    assert answer.status == 200, answer
    assert saved.read_bytes() == download.content
    assert answer.headers["Content-Type"].partition(";")[0] == download.stored.content_type
    disposition = answer.headers["Content-Disposition"]
    named = re.search(r"filename\*=UTF-8''([^;]+)", disposition)
    assert named, disposition
    assert unquote(named[1]) == download.stored.name == "Größe_名前.txt"


def check_resumed_download(client: Client, node: Node, line: CuttingProxy, folder: Path) -> None:
    """A download goes on where the line broke: Range with If-Range (RFC 9110, 13.1.5)."""
    download = stored_text(node)
    etag = client("HEAD", download.url, {}).headers["Etag"]
    saved, rest = folder / "saved", folder / "rest"
    line.cut_after("down", CUT)
    with pytest.raises(LineCut):
        client("GET", download.url, {}, save=saved)
    had = saved.stat().st_size
    assert CUT - SLACK <= had <= CUT
    headers = {"Range": f"bytes={had}-", "If-Range": etag}
    answer = client("GET", download.url, headers, save=rest)
    assert answer.status == 206, answer
    assert saved.read_bytes() + rest.read_bytes() == download.content
    assert line.carried("down") <= len(download.content) + SLACK


def check_uploader_goes_on(
    send: Callable[[Tus], object], node: Node, line: CuttingProxy, source: Path
) -> None:
    """A client that goes on by itself after a cut sends the file once."""
    upload = upload_of(node)
    line.cut_after("up", CUT)
    send(upload)
    assert line.was_cut("up")
    check_file(upload, source)
    assert line.carried("up") <= source.stat().st_size + SLACK


def check_download_goes_on(
    fetch: Callable[[Download], Path],
    node: Node,
    line: CuttingProxy,
    name: str = "Größe 名前.txt",
) -> None:
    """A client that goes on by itself, or is told to, has the whole file and fetched it once."""
    download = stored_text(node, name)
    line.cut_after("down", CUT)
    saved = fetch(download)
    assert line.was_cut("down")
    assert saved.read_bytes() == download.content
    assert line.carried("down") <= len(download.content) + SLACK
