"""What a request's target names, however it is written."""

from __future__ import annotations

import pytest

from agent.incoming.request_head import path_of, query_of


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/uploads/a.bin", "/uploads/a.bin", ""),
        ("/uploads/a.bin?token=x#y", "/uploads/a.bin", "token=x"),
        ("//uploads/a.bin", "/uploads/a.bin", ""),
        # Two slashes name no host: what looks like a broken one is a path.
        ("//[::1/../uploads/?a=b", "/[::1/../uploads/", "a=b"),
        ("https://s01.example.net/uploads/a.bin?a=b", "/uploads/a.bin", "a=b"),
        ("http://[::1", "http://[::1", ""),
        ("", "", ""),
    ],
)
def test_every_target_has_a_path_and_a_query(target: str, path: str, query: str) -> None:
    assert (path_of(target), query_of(target)) == (path, query)
