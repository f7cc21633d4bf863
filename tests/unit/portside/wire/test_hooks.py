"""Hooks as they are configured: which URLs can be asked, and whom a delivery is meant for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portside.wire.hooks import Hook, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.net/portside?key=1", "https://app.example.net"),
        ("https://app.example.net:443/", "https://app.example.net"),
        ("http://app.example.net:8080/x", "http://app.example.net:8080"),
        ("http://[2001:db8::1]:81", "http://[2001:db8::1]:81"),
        ("https://APP.example.net", "https://app.example.net"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@app.example.net/",
        "https:///path",
        "https://app.example.net/#there",
        "https://app.example.net:99999/",
        "https://app.example.net/a b",
        "https://app.example.net/\x01",
        "https://äpp.example.net/",
        "ftp://app.example.net/",
    ],
)
def test_a_url_that_can_not_be_asked_is_no_hook(url: str) -> None:
    with pytest.raises(ValidationError):
        Hook(namespace="*", url=url)


@pytest.mark.parametrize("namespace", ["", "**", "Images", "-a", "../a"])
def test_a_hook_is_for_one_namespace_or_every_one(namespace: str) -> None:
    Hook(namespace="*", command=("x",))
    with pytest.raises(ValidationError):
        Hook(namespace=namespace, command=("x",))
