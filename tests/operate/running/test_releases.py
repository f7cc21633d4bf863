"""Which releases a node has, and that a rollback asks before it changes anything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from operate.running import releases
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator import programs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's releases: one that runs, one to go back to, one that was gone back from."""
    home = tmp_path / "opt"
    for age, (digest, files) in enumerate(
        {
            "a" * 16: (".complete",),
            "b" * 16: (".complete", "settings/x"),
            "c" * 16: (".complete", "settings/x", ".left"),
            "d" * 16: ("settings/x",),
        }.items()
    ):
        folder = home / "releases" / digest
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        os.utime(folder, (1e9 - age, 1e9 - age))
    (home / "current").symlink_to(f"releases/{'a' * 16}")
    moved = replace(programs.AGENT, home=str(home))
    monkeypatch.setattr(releases, "PROGRAMS", {"storage": moved})
    return home


def test_releases_are_told_with_what_they_are_for(
    site: Site, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not releases.releases(site, ["s01", "s02"], Tell())
    said = capsys.readouterr()
    rows = [line.split()[2:4] for line in said.out.splitlines()[1:]]
    assert rows == [["a" * 16, "runs"], ["b" * 16, "kept"], ["c" * 16, "left"]]
    assert "s02: can't be reached" in said.err


def test_a_dry_rollback_says_where_to(
    site: Site, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases.rollback(site, ["s01"], Tell(), dry=True)
    assert capsys.readouterr().out == f"s01: would go back to {'b' * 16}\n"


@pytest.mark.parametrize(
    ("nodes", "to", "said"),
    [
        (["s01"], "d" * 16, "s01 doesn't keep release d+: it keeps b+; nothing was changed"),
        (["s01"], "v1.0", "--release v1.0: 16 hexadecimal digits"),
        (["s01", "s02"], "", "s02: can't be reached"),
        (["c01"], "", "docs/upgrade.md"),
    ],
)
def test_a_rollback_that_cannot_be_changes_nothing(
    site: Site, home: Path, nodes: list[str], to: str, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        releases.rollback(site, nodes, Tell(), to)
