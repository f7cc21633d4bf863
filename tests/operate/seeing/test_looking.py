"""How a node is, as it says itself, and what `status` makes of it."""

from __future__ import annotations

import pytest

from operate.look import look_at
from operate.seeing.status import status
from operate.site import Site
from operate.tell import Tell
from portside.wire.control import RepairView
from tests.support.client.control_double import ControlDouble
from tests.support.client.node_views import NODE


def test_a_node_without_a_release_is_looked_at_all_the_same(site: Site) -> None:
    seen = look_at(site, ["s01", "s02", "c01"])
    look = seen["s01"].look
    assert look is not None, seen["s01"].unreached
    assert set(look.releases) == set(look.ready) == {"storage"}
    assert not look.ready["storage"].ready
    assert look.memory.total >= look.memory.available > 0
    assert look.disks[-1].path == "/"
    assert 0 < look.disks[-1].free <= look.disks[-1].total
    off = seen["s01"].clock_off
    assert off is not None and abs(off) < 5
    assert seen["s02"].look is None and "can't be reached" in str(seen["s02"].unreached)


def test_status_goes_on_past_a_dead_node_and_a_dead_control_plane(
    site: Site, control: ControlDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    control.close()
    assert not status(site, site.named([]), Tell())
    said = capsys.readouterr().out
    rows = {line.split()[0]: line for line in said.splitlines()}
    assert "not reached" in rows["s02"] and "not reached" not in rows["s01"]
    assert "s02: can't be reached over SSH" in said
    assert f"control plane: {control.url}: no connection" in said


def test_status_says_what_the_control_plane_knows(
    site: Site, control: ControlDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    control.nodes.append(NODE.model_copy(update={"state": "draining"}))
    control.repair = RepairView(
        short=(), waiting=0, leased=0, failing=0, oldest=None, given_up=(), blocked=()
    )
    status(site, site.named([]), Tell())
    said = capsys.readouterr().out
    assert "s01: draining: 2 files left" in said
    assert "s02: the control plane doesn't know it" in said
    assert "every file has the copies that it should have" in said
