"""A new node: what can be known beforehand is said before anything is changed."""

from __future__ import annotations

import socket

import pytest

from operate import adding
from operate.site import Refused, Site
from operate.tell import Tell


@pytest.mark.parametrize(
    ("node_id", "said"),
    [
        ("s09", "add the line `s09: {}` under `nodes:`"),
        ("c01", "c01 is no storage node by its roles"),
        ("s01", r"s01\.operate\.invalid doesn't resolve: create its DNS record first"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(site: Site, node_id: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        adding.add_node(site, node_id, Tell())


def test_a_machine_that_is_down_is_not_begun_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = socket.getaddrinfo("127.0.0.1", 443)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: local)
    with pytest.raises(Refused, match="s02: can't be reached over SSH"):
        adding.add_node(site, "s02", Tell())
