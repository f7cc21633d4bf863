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
        if (folder / "settings").exists():
            os.utime(folder / "settings", (1e9 - age, 1e9 - age))
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
    assert rows == [["b" * 16, "kept"], ["c" * 16, "left"], ["a" * 16, "runs"]]
    assert "s02: can't be reached" in said.err


def test_a_dry_rollback_says_where_to(
    site: Site, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases.rollback(site, ["s01"], Tell(), dry=True)
    assert capsys.readouterr().out == f"s01: would go back to {'b' * 16}\n"


@pytest.mark.parametrize(
    ("nodes", "to", "said"),
    [
        (["s01"], "d" * 16, "s01 doesn't keep release d+: it keeps b+, c+; nothing was changed"),
        (["s01"], "v1.0", "--to v1.0: 16 hexadecimal digits"),
        (["s01", "s02"], "", "s02: can't be reached"),
        (["c01"], "", "docs/upgrade.md"),
    ],
)
def test_a_rollback_that_cannot_be_changes_nothing(
    site: Site, home: Path, nodes: list[str], to: str, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        releases.rollback(site, nodes, Tell(), to)


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("before/release", f"s01: would go back to {'e' * 16}\n"),
        (f"releases/{'a' * 16}/.returned", "s01: went back before; `--to` names a release"),
    ],
)
def test_it_says_what_the_deploy_will_do(
    site: Site, home: Path, note: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change that no run has proven ends first; who went back stays there."""
    (home / note).parent.mkdir(exist_ok=True)
    (home / note).write_text(f"{'e' * 16}\n")
    releases.rollback(site, ["s01"], Tell(), dry=True)
    assert capsys.readouterr().out.startswith(said)
