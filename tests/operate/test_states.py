"""What is wanted of a node: with which key the control plane is asked, and what people hear."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from operate import locks, states
from operate.site import Site
from operate.tell import Tell
from portside.client.http.errors import ControlRefused
from portside.cluster.file import parse
from portside.commands.storage import nodes
from portside.operator import node_lock
from portside.wire.control import DrainProgress
from tests.support.client.control_double import API_KEY, ControlDouble, refuse
from tests.support.client.node_views import NODE

GOING = DrainProgress(
    since=datetime.now(UTC),
    files_left=2,
    bytes_left=0,
    files_gone=0,
    bytes_gone=0,
    copying=0,
    bytes_per_second=None,
    seconds_left=None,
    blocked=("2 files have no node to go to: there is no other node",),
    not_yet=("s01 still has 2 copies",),
    drained=False,
)


@pytest.fixture(autouse=True)
def one_node(control: ControlDouble) -> None:
    control.nodes.append(NODE)


@pytest.mark.parametrize("kept", [None, API_KEY, "revoked-key-0123456789"])
def test_a_node_is_drained_with_a_key_that_counts(
    kept: str | None, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    if kept:
        site.keystore.keep_operator_key(kept)
    states.drain(site, "s01", Tell())
    assert capsys.readouterr().out == "s01: draining\n  2 files left\n"
    assert site.keystore.operator_key() == API_KEY


def test_a_drain_says_how_far_it_is_and_is_watched_to_its_end(
    site: Site,
    control: ControlDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.001)
    over = GOING.model_copy(update={"drained": True, "files_left": 0, "blocked": ()})
    control.nodes[:] = [NODE.model_copy(update={"drain": GOING})]
    states.drain(site, "s01", Tell())
    said = capsys.readouterr().out
    assert "2 files (0 B) left" in said
    assert "  blocked: 2 files have no node to go to: there is no other node\n" in said
    control.nodes[:] = [NODE, *(NODE.model_copy(update={"drain": each}) for each in (GOING, over))]
    states.drain(site, "s01", Tell(), watch=True)
    assert "drained: may be retired: `fab retire s01`" in capsys.readouterr().out


def test_a_watched_drain_outlasts_a_restart_of_the_control_plane(
    site: Site,
    control: ControlDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(states, "ASKED_AGAIN", 0.001)
    monkeypatch.setattr("portside.client.control.SHORTEST_PAUSE", 0.001)
    over = GOING.model_copy(update={"drained": True, "files_left": 0, "blocked": ()})
    control.nodes[:] = [NODE, *(NODE.model_copy(update={"drain": each}) for each in (GOING, over))]
    down = [refuse(503, "database-unavailable")] * 7
    told: list[int] = []

    def restarts(seconds: float) -> None:
        if not told:
            told.append(1)
            control.faults += down

    monkeypatch.setattr("portside.commands.storage.nodes.time.sleep", restarts)
    states.drain(site, "s01", Tell(), watch=True)
    said = capsys.readouterr()
    assert "the drain goes on with it; asking again" in said.err
    assert "drained: may be retired: `fab retire s01`" in said.out


def test_a_retired_node_that_is_wanted_again_has_to_be_started_first(
    site: Site, control: ControlDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    control.nodes[:] = [NODE.model_copy(update={"state": "retired"})]
    states.undrain(site, "s01", Tell())
    assert "it is active once `fab reinstall s01` has started" in capsys.readouterr().out


def test_a_dry_run_asks_for_nothing(
    site: Site, control: ControlDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, would in (
        (states.drain, "draining"),
        (states.undrain, "active"),
    ):
        verb(site, "s01", Tell(), dry=True)
        assert capsys.readouterr().out == f"s01: is active, would be {would}\n"
    assert {method for method, *_ in control.requests} == {"GET"}


def test_a_refusal_is_told_in_the_control_planes_words(site: Site, control: ControlDouble) -> None:
    control.faults.append(refuse(409, "no-room"))
    with pytest.raises(ControlRefused, match="so says the double"):
        states.drain(site, "s01", Tell())


def test_what_is_wanted_of_a_node_is_in_the_audit_log_of_the_control_planes(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    states.drain(site, "s01", Tell())
    states.undrain(site, "s01", Tell())
    states.drain(site, "s01", Tell(), dry=True)
    capsys.readouterr()
    assert locks.audit(site, ["c01"], Tell(), lines=50, days=1)
    entries = capsys.readouterr().out.splitlines()[1:]
    assert len(entries) == 2, entries
    assert entries[0].split()[1:] == ["c01", node_lock.me(), "s01:", "draining", "done"]


def test_a_control_plane_that_is_on_no_node_of_ours_is_told_all_the_same(
    site: Site, control: ControlDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    site.keystore.keep_operator_key(API_KEY)
    elsewhere = parse(
        "name: test\ndomain: operate.invalid\nnodes: {s01: {}}\n"
        "control: {url: 'https://control.operate.invalid'}\n"
    )
    states.drain(replace(site, cluster=elsewhere), "s01", Tell())
    assert capsys.readouterr().out.startswith("s01: draining\n")
