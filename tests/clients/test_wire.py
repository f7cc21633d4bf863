"""Requests of other people's clients as they go over the wire, letter by letter.

What `make clients` finds out with the clients themselves, `make test` holds with this. The shapes
are those of the versions that are locked there, and of clients that aren't installed here.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import pytest

from tests.support.clients.promises import NAME, STORED_NAME, upload_of
from tests.support.protocol.checks import check_stored, files_of
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import TUS_MEDIA, UPLOADS, Answer, Tus, metadata

pytestmark = pytest.mark.xdist_group("clients")

CONTENT = b"what is in the file\r\n--not the edge\r\n"


def ask(
    node: Node,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | list[bytes] | None = None,
) -> Answer:
    """One request with these headers and Host alone; a list of pieces goes out in chunks."""
    place = urlsplit(node.url)
    assert place.hostname
    trust = ssl.create_default_context(cafile=str(node.ca))
    connection = http.client.HTTPSConnection(place.hostname, place.port, context=trust, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        chunked = isinstance(body, list)
        length = {} if body is None or chunked else {"Content-Length": str(len(body))}
        for name, value in {**headers, **length}.items():
            connection.putheader(name, value)
        connection.endheaders(body, encode_chunked=chunked)
        response = connection.getresponse()
        told = {name.title(): value for name, value in response.getheaders()}
        return Answer(response.status, told, response.read())
    finally:
        connection.close()


def form(disposition: str, fields: Mapping[str, str]) -> bytes:
    """A form whose fields come before its file, as all of these send it."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f"--edge\r\nContent-Disposition: form-data; {disposition}\r\n".encode()
    media = b"Content-Type: application/octet-stream\r\n\r\n"
    return b"".join(parts) + head + media + CONTENT + b"\r\n--edge--\r\n"


_ENCODED = quote(NAME)
_UPPY = {"relativePath": "null", "name": NAME, "type": "application/octet-stream"}
_WORD = "=?utf-8?B?R3LDtsOfZSDlkI3liY0uYmlu?="


@pytest.mark.parametrize(
    ("disposition", "fields"),
    [
        pytest.param(f'name="file"; filename="{NAME}"', {}, id="browsers, curl, Ruby, Java"),
        pytest.param(f'name="file"; filename="{NAME}"', _UPPY, id="Uppy"),
        # As RFC 7578 allows in section 2, and nobody else.
        pytest.param(f'name="file"; filename="{_ENCODED}"', {}, id="aiohttp"),
        pytest.param(
            f'name="file"; filename="{_ENCODED}"; filename*=utf-8\'\'{_ENCODED}',
            {},
            id="in both ways",
        ),
        pytest.param(f"name=\"file\"; filename*=utf-8''{_ENCODED}", {}, id="requests before 2.23"),
        pytest.param(
            f"name=file; filename=\"{_WORD}\"; filename*=utf-8''{_ENCODED}", {}, id=".NET"
        ),
    ],
)
def test_a_forms_file_is_stored_under_its_name(
    node: Node, disposition: str, fields: dict[str, str]
) -> None:
    upload = upload_of(node)
    headers = {
        "Authorization": f"Bearer {upload.token}",
        "Content-Type": "multipart/form-data; boundary=edge",
    }
    answer = ask(node, "POST", "/api/internal/upload", headers, form(disposition, fields))
    assert answer.status == 201, answer
    assert check_stored(upload, answer.body, CONTENT).name == STORED_NAME


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        pytest.param(
            "POST",
            "/api/internal/upload",
            "authorization,cache-control,x-requested-with",
            id="Dropzone",
        ),
        pytest.param("POST", "/api/internal/upload", "authorization", id="Uppy's XHRUpload"),
        pytest.param("PUT", "/api/internal/upload/a.bin", "authorization,content-type", id="axios"),
        # Its adapter for fetch sets User-Agent, which Chromium drops and Firefox asks for.
        pytest.param("GET", "/f/0/a.bin", "if-range,range,user-agent", id="axios, by fetch"),
        pytest.param(
            "POST",
            UPLOADS,
            "authorization,tus-resumable,upload-length,upload-metadata",
            id="tus-js-client, creation",
        ),
        pytest.param(
            "PATCH",
            f"{UPLOADS}/0",
            "authorization,content-type,tus-resumable,upload-offset,x-request-id",
            id="tus-js-client, append",
        ),
        pytest.param(
            "POST",
            "/api/internal/upload",
            "authorization,hx-current-url,hx-request,hx-target,hx-trigger",
            id="htmx",
        ),
    ],
)
def test_a_page_of_another_origin_may_send_what_its_library_sends(
    node: Node, page_port: int, method: str, path: str, asked: str
) -> None:
    origin = f"http://localhost:{page_port}"
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": asked,
    }
    answer = ask(node, "OPTIONS", path, headers)
    assert answer.status in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    allowed = _listed(answer.headers["Access-Control-Allow-Headers"])
    assert set(asked.split(",")) <= allowed
    assert method.lower() in _listed(answer.headers["Access-Control-Allow-Methods"])


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param({"Content-Length": "0"}, 401, id="without a token"),
        pytest.param({"Content-Length": str(1 << 40)}, 413, id="too large"),
    ],
)
def test_a_page_of_another_origin_may_read_a_refusal(
    node: Node, page_port: int, asked: dict[str, str], status: int
) -> None:
    token = {} if status == 401 else {"Authorization": f"Bearer {upload_of(node).token}"}
    origin = f"http://localhost:{page_port}"
    answer = ask(node, "PUT", "/api/internal/upload/a.bin", {"Origin": origin, **token, **asked})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.slug


def test_tus_java_client_is_understood(node: Node) -> None:
    upload = upload_of(node)
    tus = _java(upload)
    length = {"Upload-Length": str(len(CONTENT)), "Content-Length": "0"}
    created = ask(
        node, "POST", UPLOADS, {**tus, **length, "Upload-Metadata": metadata(filename=NAME)}
    )
    assert created.status == 201, created
    path = urlsplit(created.headers["Location"]).path
    patch = {
        **tus,
        "Upload-Offset": "0",
        "Content-Type": TUS_MEDIA,
        "X-HTTP-Method-Override": "PATCH",
        "Transfer-Encoding": "chunked",
    }
    last = ask(node, "POST", path, patch, [CONTENT[:5], CONTENT[5:]])
    assert (last.status, last.headers.get("Upload-Offset")) == (204, str(len(CONTENT))), last
    assert [path.name for path in files_of(upload)] == [STORED_NAME]


def _java(upload: Tus) -> dict[str, str]:
    """What HttpURLConnection adds by itself, and what tus-java-client sets."""
    return {
        "Tus-Resumable": "1.0.0",
        "Authorization": f"Bearer {upload.token}",
        "User-Agent": "Java/17.0.15",
        "Accept": "text/html, image/gif, image/jpeg, */*; q=0.2",
        "Connection": "keep-alive",
    }


def test_an_upload_is_told_of_with_a_whole_url(node: Node) -> None:
    # aiotus 1.1 appends what is no whole URL to the endpoint, and fails at its first slash.
    upload = upload_of(node)
    asked = {"Upload-Length": "1", "Upload-Metadata": metadata(filename=NAME)}
    created = ask(node, "POST", UPLOADS, {**_java(upload), **asked, "Content-Length": "0"})
    location = created.headers["Location"]
    assert location.startswith(f"{node.uploads}/")
    upload.ask("DELETE", f"{upload.agent.url}{urlsplit(location).path}", _java(upload))


def _listed(value: str) -> set[str]:
    return {each.strip().lower() for each in value.split(",")}
