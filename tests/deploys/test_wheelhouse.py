"""A release is named by its sources, and holds a wheel for every Python a node may have."""

from __future__ import annotations

import os
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from deploys import wheelhouse
from deploys.layout import PROJECT_ROOT

LOCK = """\
# comment
alpha==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
    # via portside
beta==1.30 ; python_full_version < '3.12' \\
    --hash=sha256:ba
beta==2.2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
gamma==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:ca
delta==2.0 ; implementation_name != 'PyPy' \\
    --hash=sha256:da
"""


@pytest.mark.parametrize(
    ("python", "beta"),
    [("3.11", "beta==1.30 --hash=sha256:ba"), ("3.13", "beta==2.2.0 --hash=sha256:bb")],
)
def test_markers_are_those_of_the_nodes_python(python: str, beta: str) -> None:
    assert wheelhouse.lock_for(python, "x86_64", LOCK).splitlines() == [
        "alpha==1.0 --hash=sha256:aa --hash=sha256:ab",
        beta,
        "delta==2.0 --hash=sha256:da",
    ]


def test_every_entry_of_the_real_lock_is_pinned_by_hash() -> None:
    lock = (PROJECT_ROOT / "requirements" / "agent.txt").read_text()
    for python in wheelhouse.PYTHONS:
        lines = wheelhouse.lock_for(python, "x86_64", lock).splitlines()
        assert lines
        assert all("==" in line and " --hash=sha256:" in line for line in lines)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    sources = ("requirements/agent.txt", "pyproject.toml", "portside/a.py", "agent/b.py")
    for path in (*sources, "README.md"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    ["requirements/agent.txt", "pyproject.toml", "portside/a.py", "agent/b.py", "agent/c.py"],
)
def test_another_source_is_another_release(project: Path, path: str) -> None:
    before = wheelhouse.source_digest(project, wheelhouse.AGENT)
    (project / path).write_text("changed")
    assert wheelhouse.source_digest(project, wheelhouse.AGENT) != before


def test_what_python_leaves_behind_changes_nothing(project: Path) -> None:
    before = wheelhouse.source_digest(project, wheelhouse.AGENT)
    (project / "agent" / "__pycache__").mkdir()
    (project / "agent" / "__pycache__" / "b.pyc").write_text("x")
    assert wheelhouse.source_digest(project, wheelhouse.AGENT) == before


def test_a_renamed_source_is_another_release(project: Path) -> None:
    before = wheelhouse.source_digest(project, wheelhouse.AGENT)
    (project / "agent" / "b.py").rename(project / "agent" / "z.py")
    assert wheelhouse.source_digest(project, wheelhouse.AGENT) != before


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """pip's calls; each leaves a wheel named after itself."""
    calls: list[tuple[str, ...]] = []

    def run(*arguments: str) -> None:
        calls.append(arguments)
        folder = arguments[
            arguments.index("--dest" if arguments[0] == "download" else "--wheel-dir") + 1
        ]
        (Path(folder) / f"{arguments[0]}.whl").touch()
        if arguments[0] == "download":
            python = arguments[arguments.index("--python-version") + 1]
            (Path(folder) / f"download-{python}.whl").touch()

    monkeypatch.setattr(wheelhouse, "_run", run)
    return calls


def test_a_release_is_built_once_and_whole(project: Path, pip: list[tuple[str, ...]]) -> None:
    (project / "requirements" / "agent.txt").write_text(LOCK)
    built = wheelhouse.build(project, wheelhouse.AGENT)
    with tarfile.open(built.archive) as archive:
        names = archive.getnames()
    assert "requirements.txt" in names
    assert {Path(name).name for name in names if name.endswith(".whl")} == {
        "download.whl",
        "download-3.11.whl",
        "download-3.13.whl",
        "wheel.whl",
    }
    assert [path.name for path in built.directory.parent.iterdir()] == [f"{built.digest}-x86_64"]
    assert wheelhouse.build(project, wheelhouse.AGENT) == built
    assert len(pip) == 3


def test_what_a_lock_pins_is_downloaded_once_for_all_releases(
    project: Path, pip: list[tuple[str, ...]]
) -> None:
    lock = project / "requirements" / "agent.txt"
    lock.write_text(LOCK)
    first = wheelhouse.build(project, wheelhouse.AGENT)
    (project / "agent" / "b.py").write_text("edited")
    second = wheelhouse.build(project, wheelhouse.AGENT)
    assert second.digest != first.digest
    assert [call[0] for call in pip].count("download") == len(wheelhouse.PYTHONS)
    with tarfile.open(first.archive) as before, tarfile.open(second.archive) as after:
        assert before.getnames() == after.getnames()

    lock.write_text(LOCK + "# another\n")
    wheelhouse.build(project, wheelhouse.AGENT)
    assert [call[0] for call in pip].count("download") == 2 * len(wheelhouse.PYTHONS)


def test_an_edit_during_the_build_belongs_to_the_next_release(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "requirements" / "agent.txt").write_text(LOCK)
    before = wheelhouse.source_digest(project, wheelhouse.AGENT)

    def edit(command: str, *arguments: str) -> None:
        (project / "agent" / "b.py").write_text("edited")
        if command == "wheel":
            assert (Path(arguments[-1]) / "agent" / "b.py").read_text() == "agent/b.py"

    monkeypatch.setattr(wheelhouse, "_run", edit)
    assert wheelhouse.build(project, wheelhouse.AGENT).digest == before
    assert wheelhouse.source_digest(project, wheelhouse.AGENT) != before


def test_every_wheel_is_checked_by_hash_and_none_is_compiled(
    project: Path, pip: list[tuple[str, ...]]
) -> None:
    (project / "requirements" / "agent.txt").write_text(LOCK)
    wheelhouse.build(project, wheelhouse.AGENT)
    downloads = [call for call in pip if call[0] == "download"]
    assert len(downloads) == len(wheelhouse.PYTHONS)
    for call in downloads:
        assert {"--require-hashes", "--only-binary=:all:"} <= set(call)
        assert not any("index" in argument for argument in call)


def test_no_two_threads_read_a_lock_at_once(
    project: Path, pip: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ast`, by which its markers are read, isn't made for that in CPython 3.11."""
    readers: list[int] = []
    read = wheelhouse.lock_for

    def noting(python: str, architecture: str, lock: str) -> str:
        readers.append(threading.get_ident())
        return read(python, architecture, lock)

    monkeypatch.setattr(wheelhouse, "lock_for", noting)
    (project / "requirements" / "agent.txt").write_text(LOCK)
    wheelhouse.build(project, wheelhouse.AGENT)
    assert readers == [threading.get_ident()] * len(wheelhouse.PYTHONS)


def test_a_build_that_fails_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: str) -> None:
        raise wheelhouse.ReleaseError("pip download failed: no such wheel")

    (project / "requirements" / "agent.txt").write_text(LOCK)
    monkeypatch.setattr(wheelhouse, "_run", fail)
    with pytest.raises(wheelhouse.ReleaseError):
        wheelhouse.build(project, wheelhouse.AGENT)
    assert list((project / "build" / "releases").iterdir()) == []
    assert list((project / "build" / "wheels").iterdir()) == []


def test_the_same_sources_are_the_same_bytes_whoever_builds_them_and_when(
    project: Path, pip: list[tuple[str, ...]], tmp_path: Path
) -> None:
    (project / "requirements" / "agent.txt").write_text(LOCK)
    first = wheelhouse.build(project, wheelhouse.AGENT).archive.read_bytes()
    shutil.rmtree(project / "build")
    for path in project.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    assert wheelhouse.build(project, wheelhouse.AGENT).archive.read_bytes() == first


def test_each_machine_gets_wheels_of_its_own(project: Path, pip: list[tuple[str, ...]]) -> None:
    (project / "requirements" / "agent.txt").write_text(LOCK)
    releases = [
        wheelhouse.build(project, wheelhouse.AGENT, each) for each in wheelhouse.ARCHITECTURES
    ]
    assert len({each.digest for each in releases}) == 1
    assert len({each.directory for each in releases}) == 2
    for machine in wheelhouse.ARCHITECTURES:
        asked = [call for call in pip if f"manylinux_2_28_{machine}" in call]
        assert len(asked) == len(wheelhouse.PYTHONS)
        assert all(each.endswith(machine) for call in asked for each in call if "manylinux" in each)


def test_a_machine_for_which_there_are_no_releases_is_named(project: Path) -> None:
    with pytest.raises(wheelhouse.ReleaseError, match="no releases for machines of armv7l, only"):
        wheelhouse.build(project, wheelhouse.AGENT, "armv7l")


@pytest.mark.parametrize("lock", ["agent", "control"])
def test_no_machine_needs_a_package_that_the_others_do_not(lock: str) -> None:
    text = (PROJECT_ROOT / "requirements" / f"{lock}.txt").read_text()
    for python in wheelhouse.PYTHONS:
        each = {wheelhouse.lock_for(python, machine, text) for machine in wheelhouse.ARCHITECTURES}
        assert len(each) == 1
