"""A node is changed by one verb at a time, and who did what is in its audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from operate import locks
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator import node_lock

pytestmark = pytest.mark.usefixtures("own_files")


def test_a_verb_that_is_run_twice_at_once_is_refused_by_name(site: Site) -> None:
    with (
        locks.held(site, "s01", "restart nginx"),
        pytest.raises(Refused, match=r"s01 is being changed by .*: let that run end"),
        locks.held(site, "s01", "restart nginx"),
    ):
        pass
    with locks.held(site, "s01", "again"):
        pass


def test_the_audit_log_says_how_each_ended(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with locks.held(site, "s01", "one"):
        pass
    with pytest.raises(KeyError), locks.held(site, "s01", "two"):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), locks.held(site, "s01", "three"):
        raise KeyboardInterrupt
    # What was let go is written down a moment later.
    with locks.held(site, "s01", "four"):
        pass
    assert locks.audit(site, ["s01"], Tell(), lines=50, days=1)
    rows = [line.split()[3:] for line in capsys.readouterr().out.splitlines()]
    ended = {what: how for what, how in rows if how != "begun"}
    assert ended["one"] == "done" and ended["two"] == "failed" and ended["three"] == "interrupted"


def test_a_node_that_cannot_be_reached_is_no_lock(site: Site) -> None:
    with (
        pytest.raises(Refused, match=r"s02: .*refused"),
        locks.held(site, "s02", "restart"),
    ):
        pass


def test_a_node_is_closed_for_others_and_opened_again(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert locks.close(site, ["s01"], "its disk is being replaced", Tell())
    assert locks.show(site, ["s01"], Tell())
    assert f"closed by {node_lock.me()} since" in capsys.readouterr().out
    with locks.held(site, "s01", "who closed it works on"):
        pass
    monkeypatch.setattr(node_lock, "me", lambda: "bob@desk")
    with (
        pytest.raises(Refused, match="its disk is being replaced; nothing was changed"),
        locks.held(site, "s01", "restart"),
    ):
        pass
    assert not locks.reopen(site, ["s01"], Tell(), force=False)
    assert "fab lock --release --force" in capsys.readouterr().err
    assert locks.reopen(site, ["s01"], Tell(), force=True)
    assert locks.show(site, ["s01"], Tell())
    assert "s01: open" in capsys.readouterr().out


def test_a_dry_run_closes_nothing(site: Site, tmp_path: Path) -> None:
    assert locks.close(site, ["s01"], "why", Tell(), dry=True)
    assert not (tmp_path / "closed.json").exists()


@pytest.mark.parametrize("why", [" ", "two\nlines", "x" * 201])
def test_a_reason_is_a_line(site: Site, why: str) -> None:
    with pytest.raises(Refused, match="--why"):
        locks.close(site, ["s01"], why, Tell())
