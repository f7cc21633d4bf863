"""Time is kept by whoever keeps it already, and by somebody in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.components.machine.base import KEEPS_TIME, START_A_KEEPER
from deploys.operations.clock import KEEPERS
from tests.support.deploys.this_computer import Programs


def _machine(folder: Path, running: str, container: bool) -> Programs:
    """Where one keeper runs, or none: is-active succeeds if any of those it is asked for does."""
    found = Programs(folder)
    found.make(
        "systemctl",
        f"""case $1 in
    is-active) case " $* " in *" {running} "*) exit 0 ;; *) exit 3 ;; esac ;;
    is-enabled) exit 0 ;;
    *) echo "$@" >> {folder}/done ;;
esac""",
    )
    found.make("systemd-detect-virt", f"exit {0 if container else 1}")
    return found


@pytest.mark.parametrize("keeper", KEEPERS)
@pytest.mark.parametrize("container", [False, True])
def test_a_keeper_of_any_kind_that_runs_is_enough(
    tmp_path: Path, keeper: str, container: bool
) -> None:
    assert _machine(tmp_path, keeper, container).run(KEEPS_TIME).returncode == 0


def test_in_a_container_nobody_has_to(tmp_path: Path) -> None:
    assert _machine(tmp_path, "nobody", container=True).run(KEEPS_TIME).returncode == 0


def test_on_a_machine_somebody_has_to(tmp_path: Path) -> None:
    assert _machine(tmp_path, "nobody", container=False).run(KEEPS_TIME).returncode != 0


@pytest.mark.parametrize("keeper", KEEPERS)
def test_the_keeper_that_is_installed_is_the_one_that_is_started(
    tmp_path: Path, keeper: str
) -> None:
    programs = _machine(tmp_path, "nobody", container=False)
    # One that was removed has its settings left.
    programs.make(
        "dpkg-query",
        f'for last; do :; done; [ "$last" = {keeper} ] && echo installed || echo config-files',
    )
    assert programs.run(f"set -e; {START_A_KEEPER}").returncode == 0
    done = (tmp_path / "done").read_text().splitlines()
    assert done == [f"unmask --quiet {keeper}", f"enable --quiet --now {keeper}"]
