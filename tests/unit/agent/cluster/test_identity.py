"""A node's key is replaced by one rename, and never before everybody knows the next."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.cluster import announced, identity
from agent.cluster.identity import IdentityError
from portside.tokens import key_id
from portside.wire.heartbeat import Roster, RosterNode
from portside.wire.keys import PublicKey

BASE = "https://s01.portside.test"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    identity.create(tmp_path / "node.key", "s01")
    return tmp_path / "node.key"


def test_the_next_key_is_made_once_and_signs_nothing_yet(path: Path) -> None:
    before = identity.follow(path, "s01")
    following = identity.prepare(path, "s01")
    assert identity.prepare(path, "s01").kid == following.kid != before.kid
    assert stat.S_IMODE(identity.next_to(path).stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"node.key", "node.key.next"}


def test_it_takes_over_once_however_often_that_is_said(path: Path) -> None:
    key = identity.follow(path, "s01")
    following = identity.prepare(path, "s01")
    for _ in range(2):
        assert identity.take_over(path, "s01", following.kid).kid == following.kid
        assert key_id(key.sign("x", {})) == following.kid
    assert [each.name for each in path.parent.iterdir()] == ["node.key"]


def test_another_key_than_the_one_that_was_told_never_takes_over(path: Path) -> None:
    before = identity.load(path, "s01")
    with pytest.raises(IdentityError, match=r"no key .* was prepared"):
        identity.take_over(path, "s01", "another")
    identity.prepare(path, "s01")
    with pytest.raises(IdentityError, match="rotate again"):
        identity.take_over(path, "s01", "another")
    assert identity.load(path, "s01").kid == before.kid


def _settings(folder: Path) -> Any:
    return SimpleNamespace(
        node_id="s01", roster=folder / "roster.json", received_roster=folder / "received.json"
    )


def _write(path: Path, *others: PublicKey, key: PublicKey, control_url: str | None) -> None:
    node = RosterNode(
        node_id="s01", public_base_url=BASE, upload_api_url=BASE, key=key, other_keys=others
    )
    roster = Roster(cluster="lab", control_url=control_url, nodes=(node,))
    path.write_text(roster.model_dump_json())


def test_a_key_that_no_roster_has_is_not_waited_for(path: Path) -> None:
    settings = _settings(path.parent)
    _write(settings.roster, key=identity.load(path, "s01").public(), control_url=None)
    with pytest.raises(IdentityError, match="deploy the roster"):
        announced.wait(settings, "another", patience=0)


def test_the_control_plane_has_to_tell_of_it_first(path: Path) -> None:
    settings, own = _settings(path.parent), identity.load(path, "s01").public()
    following = identity.prepare(path, "s01").public()
    url = "https://c01.portside.test"
    _write(settings.roster, following, key=own, control_url=url)
    _write(settings.received_roster, key=own, control_url=url)
    with pytest.raises(IdentityError, match="the control plane has not told"):
        announced.wait(settings, following.kid, patience=0)
    waits: list[float] = []

    def tell(seconds: float) -> None:
        waits.append(seconds)
        _write(settings.received_roster, following, key=own, control_url=url)

    announced.wait(settings, following.kid, patience=60, sleep=tell)
    assert waits == [1.0]


def test_without_a_control_plane_the_deploys_roster_will_do(path: Path) -> None:
    settings, own = _settings(path.parent), identity.load(path, "s01").public()
    following = identity.prepare(path, "s01").public()
    _write(settings.roster, following, key=own, control_url=None)
    announced.wait(settings, following.kid, patience=0)
