"""gunicorn's own refusals are problem documents, and none of them a failure of the server's."""

from __future__ import annotations

import json

import pytest

from portside.web.server_errors import answer_to


@pytest.mark.parametrize(
    ("said", "told", "slug"),
    [
        *((status, 400, "malformed-request") for status in (400, 403, 414, 417, 431, 501)),
        (500, 500, "internal-error"),
    ],
)
def test_what_gunicorn_says_is_told_as_a_problem(said: int, told: int, slug: str) -> None:
    head, _, body = answer_to(said).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {told} ".encode())
    assert b"Content-Type: application/problem+json" in head
    assert f"Content-Length: {len(body)}".encode() in head
    document = json.loads(body)
    assert (document["status"], document["type"]) == (told, f"urn:portside:problem:{slug}")
