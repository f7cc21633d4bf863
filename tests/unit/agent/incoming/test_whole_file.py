"""What a request's head says of its file: the whole of it, or less."""

from __future__ import annotations

import pytest

from agent.incoming.request_head import RequestHead
from agent.incoming.whole_file import said_in_head
from agent.problems import ProblemError


def _head(**headers: str) -> RequestHead:
    environ = {"REQUEST_METHOD": "PUT", "RAW_URI": "/api/internal/upload/a.iso"}
    fields = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return RequestHead.of_request(environ | fields)


@pytest.mark.parametrize(
    "headers",
    [
        {"upload_complete": "?0"},
        {"upload_complete": "?0;x"},
        {"upload_incomplete": "?1"},
        {"upload_incomplete": "?1", "upload_draft_interop_version": "3"},
    ],
)
def test_the_beginning_of_a_resumable_upload_is_no_whole_file(headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError) as refused:
        said_in_head(_head(**headers))
    assert (refused.value.status, refused.value.slug) == (400, "partial-file")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload_complete": "?1"},
        {"upload_complete": "no boolean"},
        {"upload_incomplete": "?0", "upload_draft_interop_version": "3"},
    ],
)
def test_a_whole_file_may_say_that_it_is_one(headers: dict[str, str]) -> None:
    assert said_in_head(_head(**headers)).size is None
