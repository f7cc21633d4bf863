"""The newest roster counts, wherever it came from, and a broken one changes nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.cluster.roster import Rosters
from portside.wire.heartbeat import Roster


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    return SimpleNamespace(
        roster=tmp_path / "deployed.json",
        received_roster=tmp_path / "received.json",
        public_base_url="https://s01.example.net",
    )


def _write(path: Path, version: int) -> None:
    path.write_text(Roster(cluster="lab", version=version).model_dump_json())


def test_without_a_roster_a_node_knows_nobody(settings: Any) -> None:
    assert Rosters(settings).current().nodes == ()


def test_the_higher_version_counts_and_changes_are_seen(settings: Any) -> None:
    rosters = Rosters(settings)
    _write(cast(Path, settings.roster), 1)
    assert rosters.current().version == 1
    rosters.receive(Roster(cluster="lab", version=3))
    assert rosters.current().version == 3
    _write(settings.roster, 4)
    assert rosters.current().version == 4


def test_a_lasting_url_is_the_control_planes_where_there_is_one(settings: Any) -> None:
    rosters = Rosters(settings)
    assert (
        rosters.lasting_url("0" * 32, "ä/b") == f"https://s01.example.net/f/{'0' * 32}/%C3%A4%2Fb"
    )
    rosters.receive(Roster(cluster="lab", version=1, control_url="https://c01.example.net:8443"))
    assert rosters.lasting_url("0" * 32, "a") == f"https://c01.example.net:8443/f/{'0' * 32}/a"


def test_an_older_roster_is_not_kept(settings: Any) -> None:
    _write(settings.roster, 5)
    rosters = Rosters(settings)
    rosters.receive(Roster(cluster="lab", version=4))
    assert not settings.received_roster.exists()


def test_a_broken_roster_leaves_the_one_before_in_force(settings: Any) -> None:
    _write(settings.roster, 2)
    rosters = Rosters(settings)
    assert rosters.current().version == 2
    settings.roster.write_text("{")
    assert rosters.current().version == 2
