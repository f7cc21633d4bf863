"""A version is made only of a commit that says so, and says what it is made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploys import tagging, wheelhouse
from deploys.wheelhouse import ReleaseError

CHANGELOG = """\
# Changelog

## Unreleased

- Not yet.

## 1.2.3 - 2026-12-01

### Added

- A thing.

## 1.2.2

## 1.2.1

- Another.
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with all that 1.2.3 needs; pip leaves wheels that say what they were made of."""
    project = tmp_path / "project"
    files = {
        "requirements/agent.txt": "",
        "requirements/control.txt": "",
        "pyproject.toml": '[project]\nversion = "1.2.3"\n',
        "CHANGELOG.md": CHANGELOG,
        "README.md": "",
        "portside/a.py": "a",
        "agent/b.py": "b",
        "control/c.py": "c",
        ".gitignore": "build\n*.orig\n",
    }
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    _git(project, "init", "--quiet")
    _git(project, "config", "user.name", "test")
    _git(project, "config", "user.email", "test@portside.test")
    _git(project, "add", ".")
    _git(project, "commit", "--quiet", "-m", "All")

    def pip(command: str, *arguments: str) -> None:
        if command == "wheel":
            made_of = sorted(each.name for each in Path(arguments[-1]).rglob("*.*"))
            folder = Path(arguments[arguments.index("--wheel-dir") + 1])
            (folder / "portside-1.2.3.whl").write_text(" ".join(made_of))

    monkeypatch.setattr(wheelhouse, "_run", pip)
    return project


def _git(project: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=project, capture_output=True, text=True, check=True
    ).stdout


def test_a_version_has_a_wheelhouse_for_each_product_and_machine_with_their_sums(
    project: Path,
) -> None:
    folder = tagging.make(project, "1.2.3")
    names = [
        f"portside-{product}-1.2.3-{machine}.tar"
        for product in ("agent", "control")
        for machine in ("aarch64", "x86_64")
    ]
    assert sorted(each.name for each in folder.iterdir()) == ["SHA256SUMS", *names]
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True
    )
    assert checked.returncode == 0


def test_the_tag_says_what_is_new_and_what_the_sums_are(project: Path) -> None:
    folder = tagging.make(project, "1.2.3")
    said = _git(project, "tag", "--list", "--format=%(objecttype) %(contents)", "v1.2.3")
    assert said.startswith("tag Portside 1.2.3\n\n### Added\n\n- A thing.\n")
    assert (folder / "SHA256SUMS").read_text() in said
    assert "Not yet" not in said


def test_only_what_is_committed_is_in_it(project: Path) -> None:
    (project / "agent" / "b.py.orig").write_text("left behind by a merge")
    folder = tagging.make(project, "1.2.3")
    assert b"orig" not in (folder / "portside-agent-1.2.3-x86_64.tar").read_bytes()


def test_what_is_built_twice_and_differs_is_not_tagged(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def pip(command: str, *arguments: str) -> None:
        if command == "wheel":
            times.append("x")
            folder = Path(arguments[arguments.index("--wheel-dir") + 1])
            (folder / "portside-1.2.3.whl").write_text("".join(times))

    monkeypatch.setattr(wheelhouse, "_run", pip)
    with pytest.raises(ReleaseError, match=r"differ: portside-agent-.* nothing was tagged"):
        tagging.make(project, "1.2.3")
    assert _git(project, "tag") == ""


def test_everything_that_is_missing_is_said_at_once(project: Path) -> None:
    (project / "agent" / "b.py").write_text("edited")
    with pytest.raises(ReleaseError) as refused:
        tagging.make(project, "1.2.4")
    said = str(refused.value).splitlines()
    assert [line.split()[0] for line in said] == ["pyproject.toml", "CHANGELOG.md", "something"]
    assert not (project / "build").exists()


def test_a_version_is_never_made_twice(project: Path) -> None:
    tagging.make(project, "1.2.3")
    with pytest.raises(ReleaseError, match=r"v1\.2\.3 is there already"):
        tagging.make(project, "1.2.3")


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "1.02.3", "1.2.3+x", "1.2.3; id"])
def test_what_is_no_version_is_refused(project: Path, version: str) -> None:
    assert "is no version" in tagging.reasons_against(project, version)[0]


def test_a_version_without_a_word_in_the_changelog_has_none() -> None:
    assert tagging.changes_in(CHANGELOG, "1.2.2") is None
    assert tagging.changes_in(CHANGELOG, "1.2") is None
    assert tagging.changes_in(CHANGELOG, "1.2.1") == "- Another."
