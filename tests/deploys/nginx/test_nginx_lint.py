"""nginx.conf has nothing that linters find fault with, but for what is waived with its reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.deploys.nginx_lint import Waiver, findings, mistakes
from tests.support.deploys.nginx_variants import variants

_WAIVER = Waiver("a", "host", frozenset({"set $a 1;", "set $b 2;"}), "it is meant")


def _report(config: str, **changed: Any) -> list[dict[str, Any]]:
    return [
        {"plugin": "host", "path": "/x/lab.conf", "config": config, "reason": "because", **changed}
    ]


def _said(*reports: list[dict[str, Any]], linter: str = "a") -> list[str]:
    found = [each for report in reports for each in findings(linter, report)]
    return mistakes(found, [_WAIVER])


def test_a_waiver_is_for_its_directives_alone() -> None:
    meant = _report("server {\n\tserver_name x;\n\tset $a 1;\n\tset $b 2;\n}")
    assert _said(meant) == []
    assert _said(meant, _report("\tset $c 3;")) == ["a: lab: host: because: set $c 3;"]
    assert _said(meant, _report("", reason="", summary="all")) == ["a: lab: host: all"]
    assert _said(meant, _report("\tset $a 1;", plugin="other")) == [
        "a: lab: other: because: set $a 1;"
    ]


def test_a_waiver_that_nothing_needs_is_a_mistake() -> None:
    stale = "a: nothing needs the waiver of host for set $b 2;: take it out"
    assert _said(_report("\tset $a 1;")) == [stale]
    assert _said(_report("\tset $a 1;"), linter="b")[0] == "b: lab: host: because: set $a 1;"


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every nginx.conf, without comments."""
    return {name: re.sub(r"(?m)^\s*#.*$", "", text) for name, text in variants()}


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        # Within `if` nginx goes by rules of its own: only `return` is what it looks like.
        ("something but a return in an if", r"\bif \([^\n]*\) \{\s*(?!return )\w[^\n]*"),
        ("an answer that a slow client holds up", r"\bproxy_buffering off"),
        ("a host of the client's choice", r"\bproxy_pass https?://\$"),
        ("a header of one location that loses the server's", r"(?m)^ {12,}add_header .*"),
        ("a folder's name that is cut short", r"location (?:\^~ )?(/\S*[^/\s]) \{\s*alias "),
        ("an nginx that tells its version", r"server_tokens (?!off)"),
        ("a quantifier that only some can read", r"[)\]][*+]\+"),
    ],
)
def test_no_configuration_has_what_linters_find_fault_with(
    texts: dict[str, str], fault: str, pattern: str
) -> None:
    assert {
        name: found[0] for name, text in texts.items() if (found := re.search(pattern, text))
    } == {}, fault
