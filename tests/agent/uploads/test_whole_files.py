"""What a client means is stored whole, or refused with its token as good as before."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from portside.wire.files import StoredFile
from tests.support.agent.process import Agent, slug_of
from tests.support.loopback import wait_until

DATA = b"0123456789"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(shared_agent: Agent) -> Iterator[None]:
    staged = shared_agent.leftovers()
    yield
    wait_until(lambda: set(shared_agent.leftovers()) <= set(staged))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(DATA)
    return path


def post(agent: Agent, token: str, files: Any, headers: Any = None, **data: Any) -> Any:
    sent = {"Authorization": f"Bearer {token}", **(headers or {})}
    return requests.post(
        f"{agent.url}/api/internal/upload", files=files, data=data, headers=sent, timeout=60
    )


def check_good_for_one_file(agent: Agent, token: str) -> None:
    stored = StoredFile.model_validate_json(agent.put("a.bin", DATA, token).text)
    assert (agent.root / "uploads" / stored.path).read_bytes() == DATA


ONE = ("file", ("a.bin", DATA))


@pytest.mark.parametrize(
    ("files", "fields", "slug"),
    [
        ([ONE, ("file", ("b.bin", b"more"))], {}, "malformed-request"),
        ([ONE, ("cover", ("b.bin", b"more"))], {}, "malformed-request"),
        ([("cover", ("b.bin", b"more")), ONE], {}, "malformed-request"),
        ([("files[]", ("a.bin", DATA))], {}, "malformed-request"),
        ([("file", ("", b""))], {"name": "a.bin"}, "malformed-request"),
        ([ONE], {"dzchunkindex": "0", "dztotalchunkcount": "2"}, "partial-file"),
        ([ONE], {"size": "11"}, "size-mismatch"),
        ([ONE], {"sha256": "0" * 64}, "digest-mismatch"),
        (
            [
                (
                    "file",
                    (
                        "a.bin",
                        base64.b64encode(DATA),
                        None,
                        {"Content-Transfer-Encoding": "base64"},
                    ),
                )
            ],
            {},
            "media-type",
        ),
    ],
)
def test_a_form_that_means_something_else_is_refused_and_its_token_unused(
    shared_agent: Agent, files: Any, fields: dict[str, str], slug: str
) -> None:
    token = shared_agent.mint()
    assert slug_of(post(shared_agent, token, files, **fields)) == slug
    check_good_for_one_file(shared_agent, token)


def test_a_forms_content_digest_is_of_the_form_and_its_repr_digest_of_the_file(
    shared_agent: Agent,
) -> None:
    def digest(data: bytes, algorithm: str = "sha512") -> str:
        found = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
        return f"{algorithm[:3]}-{algorithm[3:]}=:{found}:"

    token = shared_agent.mint()
    request = requests.Request("POST", f"{shared_agent.url}/api/internal/upload", files=[ONE])
    with requests.Session() as session:
        prepared = session.prepare_request(request)
        assert isinstance(prepared.body, bytes)
        form = prepared.body
        prepared.headers["Authorization"] = f"Bearer {token}"
        for headers in (
            {"Content-Digest": digest(DATA)},
            {"Content-Digest": digest(DATA, "sha256")},
            {"Repr-Digest": digest(form)},
            {"Repr-Digest": digest(form, "sha256")},
            {"Content-Digest": digest(form), "Repr-Digest": digest(form)},
        ):
            wrong = prepared.copy()
            wrong.headers.update(headers)
            refused = session.send(wrong, timeout=60)
            assert (refused.status_code, slug_of(refused)) == (422, "digest-mismatch"), headers
        prepared.headers.update({"Content-Digest": digest(form), "Repr-Digest": digest(DATA)})
        assert session.send(prepared, timeout=60).status_code == 201


def test_a_length_that_was_announced_of_a_chunked_body_is_held(shared_agent: Agent) -> None:
    token = shared_agent.mint()
    for header in ("X-Expected-Entity-Length", "X-File-Size"):
        headers = {header: "11"}
        refused = shared_agent.put("a.bin", iter([DATA]), token, headers)
        assert (refused.status_code, slug_of(refused)) == (400, "size-mismatch")
    headers = {"X-Expected-Entity-Length": "10"}
    assert shared_agent.put("a.bin", iter([DATA]), token, headers).status_code == 201


def test_the_same_file_again_is_held_to_what_is_said_of_it_too(shared_agent: Agent) -> None:
    token = shared_agent.mint()
    assert shared_agent.put("a.bin", DATA, token).status_code == 201
    etag = f'"{hashlib.sha256(DATA).hexdigest()}"'
    for headers, status in (
        ({"If-Match": etag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-None-Match": "*"}, 200),
        ({"X-File-Size": "11"}, 400),
        ({"Content-MD5": base64.b64encode(bytes(16)).decode()}, 422),
    ):
        assert shared_agent.put("a.bin", DATA, token, headers).status_code == status, headers


def curl(agent: Agent, token: str, path: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """What curl hears: the status and the document."""
    command = ["curl", "--silent", "--max-time", "60", "--write-out", "\n%{http_code}"]
    command += ["--header", f"Authorization: Bearer {token}", *arguments, f"{agent.url}{path}"]
    answer, _, status = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.rpartition("\n")
    return int(status), json.loads(answer)


def test_curl_that_goes_on_from_an_offset_is_refused(shared_agent: Agent, source: Path) -> None:
    token = shared_agent.mint()
    upload = ("--upload-file", str(source))
    status, problem = curl(shared_agent, token, "/api/internal/upload/", "-C", "6", *upload)
    assert (status, problem["type"]) == (400, "urn:portside:problem:partial-file")
    # It asks curl itself to find out where to go on: from the beginning.
    status, stored = curl(shared_agent, token, "/api/internal/upload/", "-C", "-", *upload)
    assert (status, stored["size"], stored["name"]) == (201, 10, "source.bin")


def test_curl_with_two_files_in_a_form_is_refused(shared_agent: Agent, source: Path) -> None:
    token = shared_agent.mint()
    file = ("--form", f"file=@{source}")
    status, problem = curl(shared_agent, token, "/api/internal/upload", *file, *file)
    assert (status, problem["type"]) == (400, "urn:portside:problem:malformed-request")
    named = ("--form", f'file=@{source};filename="a\\"b \\\\ü.bin"')
    status, refused = curl(shared_agent, token, "/api/internal/upload", *named)
    assert (status, refused["type"]) == (400, "urn:portside:problem:name-refused")
    named = ("--form", f'file=@{source};filename="a\\"b ü.bin"')
    status, stored = curl(shared_agent, token, "/api/internal/upload", *named)
    assert (status, stored["name"]) == (201, "a_b_ü.bin")
