"""A POST means what X-HTTP-Method-Override says; nothing else can be turned into another method."""

from __future__ import annotations

import pytest

from agent.dialects.method_override import meant_method
from agent.problems import ProblemError


@pytest.mark.parametrize(
    ("method", "override", "meant"),
    [
        ("POST", "", "POST"),
        ("PATCH", "", "PATCH"),
        ("POST", "PATCH", "PATCH"),
        ("POST", "patch", "PATCH"),
        ("POST", "HEAD", "HEAD"),
        ("POST", "DELETE", "DELETE"),
        ("POST", "POST", "POST"),
        ("PATCH", "PATCH", "PATCH"),
    ],
)
def test_the_method_that_is_meant(method: str, override: str, meant: str) -> None:
    assert meant_method(method, override) == meant


@pytest.mark.parametrize(
    ("method", "override"),
    [("POST", "PUT"), ("POST", "x y"), ("PATCH", "DELETE"), ("HEAD", "POST")],
)
def test_what_no_post_stands_for_is_refused(method: str, override: str) -> None:
    with pytest.raises(ProblemError, match="turns a POST into HEAD, PATCH or DELETE"):
        meant_method(method, override)
