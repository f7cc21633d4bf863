"""A year in an hour: every verb of an operator's life on one cluster whose app never pauses.

A story: the tests stand in its order, a season each.

After each season every file that was acknowledged is on as many disks as the factor says, as it
was sent, and the control plane says so too. No file is unreachable for longer than it must be.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator.keystore import Keystore
from tests.support.lab.control_plane import wait_for
from tests.support.lab.deploy import copy_project, deploy
from tests.support.lab.everyday import Cluster, Everyday, all_is_there, listed, owed
from tests.support.lab.year import (
    CONTROL,
    FIRST,
    FOURTH,
    SECOND,
    THIRD,
    Operator,
    another_machine,
    logged_in,
    lose,
)

FACTOR = 2
NOTICED = 25.0
"""Seconds in which a node that is lost still gets readers: `dead_after`, and a round of looking."""

A_MOMENT = 12.0
"""Seconds that a reader may wait where something starts anew, on a computer that carries a lab."""


@pytest.fixture
def season(
    operator: Operator, cluster: Cluster, day: Everyday, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Names the season, lets the app work on for a while behind it, and reckons."""
    name = str(request.node.name).removeprefix("test_")
    begun = time.monotonic()
    before = len(day.snapshot())
    day.season = name
    yield name
    verbs = time.monotonic() - begun
    wait_for("the app has stored something since", 120, lambda: len(day.owed) > before or None)
    time.sleep(5)
    all_is_there(cluster, day.snapshot(), operator.disks(), FACTOR)
    print(f"\n{name}: {verbs:.0f} s, with the reckoning {time.monotonic() - begun:.0f} s\n{day}")
    assert day.wrong == []
    assert day.broken == []
    dark = day.longest(name, lambda gap: gap.anywhere)
    assert dark == 0, [gap for gap in day.gaps if gap.season == name and gap.anywhere]


def _lasting_for_at_most(day: Everyday, season: str, seconds: float) -> None:
    longest = day.longest(season, lambda gap: gap.lasting)
    assert longest <= seconds, [gap for gap in day.gaps if gap.season == season]


def test_deploy(operator: Operator) -> None:
    run = deploy(operator.file)
    assert run.succeeded, run.output
    run = deploy(operator.file)
    assert run.succeeded, run.output
    assert run.hosts("success") == {}


def test_look(operator: Operator, day: Everyday, season: str) -> None:
    wait_for("the app has stored files", 120, lambda: len(day.owed) >= 5 or None)
    assert FIRST in operator.fab("status")
    operator.fab("doctor")
    operator.fab("verify")
    _lasting_for_at_most(day, season, A_MOMENT)


def test_add_a_node(operator: Operator, day: Everyday, season: str) -> None:
    assert "is no node of" in operator.refused("add-node", FOURTH)
    operator.lists(FOURTH)
    assert f"{FOURTH}: active, and takes uploads" in operator.fab("add-node", FOURTH)
    _lasting_for_at_most(day, season, A_MOMENT)


def test_upgrade_and_go_back(
    operator: Operator, day: Everyday, season: str, tmp_path: Path
) -> None:
    newer = copy_project(tmp_path)
    changed = newer / "agent/storage/commit.py"
    changed.write_text(changed.read_text() + "\n# Another release.\n")
    run = deploy(operator.file, project=newer)
    assert run.succeeded, run.output
    assert "goes back to" in operator.fab("rollback")
    assert operator.fab("releases").count("runs") >= len(operator.storage())
    _lasting_for_at_most(day, season, A_MOMENT)


def test_rotate_keys(operator: Operator, day: Everyday, season: str) -> None:
    before = Keystore.for_cluster(load(operator.file), PROJECT_ROOT).issuer_key().kid
    operator.fab("rotate-keys")
    after = Keystore.for_cluster(load(operator.file), PROJECT_ROOT).issuer_key().kid
    assert after != before
    _lasting_for_at_most(day, season, A_MOMENT)


def test_lose_a_machine_with_its_disk(operator: Operator, day: Everyday, season: str) -> None:
    lose(SECOND)
    said = operator.refused("status")
    assert f"{SECOND}: can't be reached" in said and FIRST in said
    told = json.loads(operator.said("retire", SECOND, "--lost", "--dry", "--json"))
    # An upload that was cut there may have been stored, and was never acknowledged.
    given_up = {each["file_id"] for each in told["named"]}
    assert given_up.isdisjoint(day.owed)
    count = str(told["without_other_copies"])
    assert f"{SECOND}: retired" in operator.fab("retire", SECOND, "--lost", "--yes-i-lose", count)
    _lasting_for_at_most(day, season, NOTICED)
    operator.strikes(SECOND)


def test_put_another_machine_in_its_place(operator: Operator, day: Everyday, season: str) -> None:
    another_machine(SECOND)
    operator.lists(SECOND)
    operator.portside("keys", "forget", SECOND)
    operator.fab("undrain", SECOND)
    assert f"{SECOND}: active, and takes uploads" in operator.fab("add-node", SECOND)
    _lasting_for_at_most(day, season, A_MOMENT)


def test_lose_the_control_plane_and_everything_here(
    operator: Operator, day: Everyday, season: str
) -> None:
    backups, words = operator.folder / "backups", operator.folder / "passphrase"
    words.write_text("eight words that nobody else would ever think of\n")
    sealed = ("--secrets", "--passphrase-file", str(words))
    operator.fab("backup", "--to", str(backups), *sealed)
    [backup] = backups.glob("*.tar")
    operator.fab("restore", str(backup), "--drill")
    _lasting_for_at_most(day, season, A_MOMENT)
    # What is stored from here on no backup has.
    count = len(day.owed)
    wait_for("files are stored since", 60, lambda: len(day.owed) > count + 5 or None)

    lost = time.monotonic()
    lose(CONTROL)
    shutil.rmtree(operator.folder / "secrets")
    another_machine(CONTROL)
    # The secrets know the host key of the machine that was lost, and another one is here.
    assert f"portside keys forget {CONTROL}" in operator.refused("restore", str(backup), *sealed)
    operator.portside("keys", "forget", CONTROL)
    assert "files are known" in operator.fab("restore", str(backup))
    away = time.monotonic() - lost
    print(f"\nwithout a control plane for {away:.0f} s")
    # Files had no lasting URL meanwhile, and each had its nodes'.
    _lasting_for_at_most(day, season, away + A_MOMENT)


def test_drain_and_let_go(operator: Operator, day: Everyday, season: str) -> None:
    operator.refused("retire", FIRST)
    said = operator.interrupted(f"{FIRST}: draining", "drain", FIRST, "--watch")
    assert "interrupted: the drain goes on" in said
    assert "may be retired" in operator.fab("drain", FIRST, "--watch")
    assert f"{FIRST}: retired" in operator.fab("retire", FIRST)
    assert "Portside is off it" in operator.fab("uninstall", FIRST)
    operator.strikes(FIRST)
    _lasting_for_at_most(day, season, A_MOMENT)


def test_come_with_files(operator: Operator, cluster: Cluster, day: Everyday, season: str) -> None:
    host = logged_in(THIRD)
    said = host.check_output(
        "mkdir -p /srv/old && cd /srv/old && for i in 1 2 3 4 5 6 7 8; do "
        "head -c 300000 /dev/urandom > old-$i.bin; done; sha256sum *.bin"
    )
    before = {line.split()[0] for line in said.splitlines()}
    words = ("--folder", "/srv/old", "--namespace", "old", "--owner", "alice", "--app", "shop")
    assert "8 files" in operator.fab("adopt", THIRD, *words)
    views = wait_for(
        "the control plane lists them",
        60,
        lambda: found if len(found := list(listed(cluster, "old"))) == len(before) else None,
    )
    assert {each.sha256 for each in views} == before
    for each in views:
        day.owes(owed(each))
    _lasting_for_at_most(day, season, A_MOMENT)


def test_leave(operator: Operator, day: Everyday, cluster: Cluster) -> None:
    target = operator.folder / "export"
    files = day.snapshot()
    operator.fab("export", str(target))
    sums = {}
    for line in (target / "SHA256SUMS").read_text().splitlines():
        digest, _, path = line.partition("  ")
        sums[path] = digest
    for each in files:
        assert sums[each.path] == each.sha256
        assert hashlib.sha256((target / each.path).read_bytes()).hexdigest() == each.sha256
    assert {each.partition("/")[0] for each in sums} >= {"everyday", "old"}
    print(f"\n{len(sums)} files exported\n{day}")
