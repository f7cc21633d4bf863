"""Machine facts decide the size of everything: they must be right in a container too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from deploys.hosts import facts
from portside.quantities import GIB, MIB
from tests.support.deploys.this_computer import ThisComputer, own

BARE = [
    *("memory_kib=4030464", "cores=2", "disk=105226698752", "open_files=524288"),
    "mount_point=/",
    "architecture=aarch64",
]


def test_ram_of_a_machine_is_its_memtotal() -> None:
    assert facts.Node().process(BARE).machine.ram == 4030464 * 1024


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(["limit=536870912"], id="v1"),
        pytest.param(["limit=536870912", "limit=9223372036854771712"], id="v2 over an open v1"),
        pytest.param(["limit=max", "limit=536870912"], id="v1 under an open v2"),
    ],
)
def test_ram_of_a_container_is_its_limit(limits: list[str]) -> None:
    assert facts.Node().process([*BARE, *limits]).machine.ram == 512 * MIB


@pytest.mark.parametrize("limit", ["limit=max", "limit=9223372036854771712"])
def test_a_limit_that_is_none_leaves_memtotal(limit: str) -> None:
    assert facts.Node().process([*BARE, limit]).machine.ram == 4030464 * 1024


def test_a_limit_above_memtotal_gives_no_ram_that_is_not_there() -> None:
    assert facts.Node().process([*BARE, f"limit={64 * GIB}"]).machine.ram == 4030464 * 1024


def test_a_node_that_cannot_be_read_is_said_to_be() -> None:
    with pytest.raises(FactProcessError, match="memory_kib"):
        facts.Node().process(["cores=2"])


def test_a_missing_data_device_is_told_from_an_empty_disk() -> None:
    lines = [line for line in BARE if not line.startswith("disk")]
    assert not facts.Node().process([*lines, "disk="]).device_present


def test_the_disk_is_that_of_the_nearest_folder_that_exists(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    found = this_computer.get_fact(
        facts.Node,
        root=str(tmp_path / "not" / "yet"),
        device=None,
        sysctls=facts.SYSCTLS,
        before=str(tmp_path / "before"),
    )
    assert found.unproven is None
    statistics = os.statvfs(tmp_path)
    assert found.machine.disk == statistics.f_blocks * statistics.f_frsize
    assert found.machine.cores == len(os.sched_getaffinity(0))
    assert found.open_files > 0


def test_a_change_that_was_never_proven_is_seen(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    asked = {"root": "/", "device": None, "sysctls": facts.SYSCTLS, "before": str(tmp_path)}
    assert this_computer.get_fact(facts.Node, **asked).unproven == ""
    (tmp_path / "release").write_text("old\n")
    assert this_computer.get_fact(facts.Node, **asked).unproven == "old"


def test_path_states_tell_content_mode_and_owner(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("x\n")
    file.chmod(0o640)
    tmp_path.chmod(0o2750)
    states = this_computer.get_fact(
        facts.PathStates, paths=[str(file), str(tmp_path), str(tmp_path / "missing")]
    )
    user, group = own(file).split(":")
    digest = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"
    assert states == {
        str(file): facts.PathState("file", 0o640, user, group, digest),
        str(tmp_path): facts.PathState("directory", 0o2750, user, group),
    }


def test_a_link_that_points_elsewhere_is_a_change(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    link = tmp_path / "current"

    def digest() -> str:
        stamp = str(tmp_path / "stamp")
        state = this_computer.get_fact(
            facts.Converged, stamp=stamp, levels=[[str(link)]], holds="true"
        )
        return str(state.wanted[0])

    seen = {digest()}
    for target in ("releases/one", "releases/two"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        seen.add(digest())
    assert len(seen) == 3


def test_a_release_without_its_mark_does_not_count(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    for index, digest in enumerate(("old", "new")):
        _packages(tmp_path / digest).mkdir(parents=True)
        (tmp_path / digest / ".complete").touch()
        os.utime(tmp_path / digest / ".complete", (index, index))
    (tmp_path / "killed").mkdir()
    (tmp_path / "current").symlink_to("releases/old")
    state = this_computer.get_fact(
        facts.Releases, releases=str(tmp_path), current=str(tmp_path / "current")
    )
    assert state == facts.ReleaseState(("new", "old"), ("killed",), "old")


def _packages(release: Path) -> Path:
    """Where a release has its packages for this computer's Python."""
    return release / "venv" / "lib" / Path("/usr/bin/python3").resolve().name


def test_a_release_for_another_python_needs_its_packages_made(
    this_computer: ThisComputer, tmp_path: Path
) -> None:
    """Where it can make them: one from before releases could is as good as none."""
    for digest in ("whole", "killed", "replaced", "before"):
        (tmp_path / digest / "venv" / "lib" / "python3.9").mkdir(parents=True)
        (tmp_path / digest / ".complete").touch()
        (tmp_path / digest / "make-venv").touch(0o755)
    (tmp_path / "before" / "make-venv").unlink()
    for digest in ("whole", "killed"):
        _packages(tmp_path / digest).mkdir()
    (_packages(tmp_path / "whole") / ".made").touch()
    state = this_computer.get_fact(facts.Releases, releases=str(tmp_path), current="/none")
    assert state.incomplete == ("before",)
    assert set(state.complete) == {"whole", "killed", "replaced"}
    assert set(state.of_another_python) == {"killed", "replaced"}


def test_a_node_without_releases_has_none(this_computer: ThisComputer, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    state = this_computer.get_fact(facts.Releases, releases=missing, current=missing)
    assert state == facts.ReleaseState((), (), None)


def test_a_node_says_which_machine_it_is() -> None:
    assert facts.Node().process(BARE).architecture == "aarch64"
