"""apt on a machine that is busy with itself, was broken off, or asks questions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from deploys.operations import apt
from deploys.operations.apt import AptBusy, Busy
from tests.support.deploys.this_computer import Programs, ThisComputer

HOLDS = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_who_holds_a_lock_of_apts_is_told(this_computer: ThisComputer, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert this_computer.get_fact(AptBusy, locks=(str(lock),)) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        busy = this_computer.get_fact(AptBusy, locks=(str(tmp_path / "other"), str(lock)))
        holder.communicate()
    assert f"pid {holder.pid}" in busy.who
    # The file alone, which stays behind, is no lock.
    assert this_computer.get_fact(AptBusy, locks=(str(lock),)) is None


def test_a_unit_is_told_by_its_name() -> None:
    said = AptBusy().process(["busy 812 apt-get apt-daily.service"])
    assert said == Busy("apt-daily.service (apt-get, pid 812)")
    assert AptBusy().process(["busy 812 apt-get "]) == Busy("apt-get (pid 812)")
    assert AptBusy().process(["cloud-init"]) == Busy("cloud-init, which sets the machine up")
    assert AptBusy().process([]) is None


class BusyHost(ThisComputer):
    """Busy for as many looks as are given, by these."""

    def __init__(self, *looks: str) -> None:
        super().__init__()
        self.looks = list(looks)

    def get_fact(self, fact: type[Any], **arguments: Any) -> Any:
        return Busy(self.looks.pop(0)) if self.looks else None


def test_it_is_waited_for_and_said_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "LOOK_EVERY", 0)
    host = BusyHost("cloud-init", "cloud-init", "apt-daily.service (apt-get, pid 7)")
    with ctx_host.use(host):
        apt.wait_until_free()
    assert host.said == [
        "waiting for cloud-init to be done with apt",
        "waiting for apt-daily.service (apt-get, pid 7) to be done with apt",
    ]


def test_it_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "PATIENCE", -1)
    with (
        ctx_host.use(BusyHost("apt-get (pid 7)")),
        pytest.raises(PyinfraError, match=r"apt-get \(pid 7\) has been at apt .* end it"),
    ):
        apt.wait_until_free()


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """apt and dpkg that write down how they were called."""
    found = Programs(tmp_path)
    for name in ("apt-get", "dpkg"):
        found.make(
            name,
            f'echo {name} "$@" >> {tmp_path}/calls; '
            f"echo $DEBIAN_FRONTEND $NEEDRESTART_SUSPEND $(umask) >> {tmp_path}/seen; cat",
        )
    return found


def _calls(tmp_path: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in (tmp_path / "calls").read_text().splitlines()]


def test_what_was_broken_off_is_mended_first(programs: Programs, tmp_path: Path) -> None:
    assert programs.run(apt.mended()).returncode == 0
    assert _calls(tmp_path) == ["dpkg --configure", "apt-get install"]
    assert " -f" in (tmp_path / "calls").read_text().splitlines()[1]


@pytest.mark.parametrize("command", [apt.mended(), apt.lists_fetched(), apt.installed(["nginx"])])
def test_nothing_is_asked_nothing_restarted_and_nothing_hidden(
    programs: Programs, tmp_path: Path, command: str
) -> None:
    # Standard input is empty, or `cat` would wait for it: nothing can be asked.
    assert programs.run(f"umask 077; {command}").returncode == 0
    assert set((tmp_path / "seen").read_text().splitlines()) == {"noninteractive 1 0022"}
    options = (tmp_path / "calls").read_text()
    assert "--force-confold" in options
    assert "DPkg::Lock::Timeout=300" in options


def test_lists_are_asked_for_again_when_somebody_came_between(
    programs: Programs, tmp_path: Path
) -> None:
    taken = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
    programs.make("sleep", "true")
    programs.make(
        "apt-get",
        f"echo x >> {tmp_path}/calls; [ $(wc -l < {tmp_path}/calls) -ge 3 ] || "
        f"{{ echo '{taken}' >&2; exit 100; }}",
    )
    assert programs.run(apt.lists_fetched()).returncode == 0
    assert len((tmp_path / "calls").read_text()) == 6


def test_another_mistake_of_apts_is_told_at_once(programs: Programs, tmp_path: Path) -> None:
    programs.make("apt-get", f"echo x >> {tmp_path}/calls; echo 'E: no mirror' >&2; exit 100")
    done = programs.run(apt.lists_fetched())
    assert (done.returncode, done.stderr) == (1, "E: no mirror\n")
    assert len((tmp_path / "calls").read_text()) == 2
