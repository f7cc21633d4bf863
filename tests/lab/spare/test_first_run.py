"""What providers hand out, on the spare machine: refused with a remedy, waited for, mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.lab.deploy import deploy, holding_the_lock
from tests.support.lab.odd import ODD, deploy_while_apt_is_busy
from tests.support.lab.spare import NODE, Spare

# Small, nothing needs it, and any other that keeps the time would do as well.
PACKAGE = "systemd-timesyncd"


def _make_odd(spare: Spare, name: str) -> None:
    script = (ODD / f"{name}.sh").read_text()
    spare.host.check_output("sh -c %s", script)


@contextmanager
def _kept(spare: Spare, path: str) -> Iterator[None]:
    """A file as it was before, once the block ends."""
    spare.host.check_output(f"cp -p {path} {path}.kept")
    try:
        yield
    finally:
        spare.host.check_output(f"mv -f {path}.kept {path}")


def test_a_shell_that_prints_lines_is_refused_in_one_line_with_the_remedy(spare: Spare) -> None:
    with _kept(spare, "/home/vagrant/.bashrc"), _kept(spare, "/root/.bashrc"):
        _make_odd(spare, "talking-shell")
        run = deploy(spare.file)
    assert not run.succeeded
    assert f"{NODE}: before anything was changed: the login shell of vagrant prints" in run.output
    assert "Traceback" not in run.output


def test_an_apt_that_is_busy_is_waited_for_and_a_dpkg_that_was_killed_is_mended(
    spare: Spare,
) -> None:
    spare.host.check_output(f"apt-get purge -qq -y {PACKAGE}")
    _make_odd(spare, "dpkg-was-killed")
    assert spare.host.run("apt-get install -y hello").rc != 0
    _make_odd(spare, "apt-is-busy")
    run = deploy_while_apt_is_busy(spare.file, spare.host)
    assert run.succeeded, run.output
    assert "waiting for apt-daily.service" in run.output
    assert spare.host.package(PACKAGE).is_installed
    assert spare.host.check_output("dpkg --audit") == ""


def test_who_comes_second_hears_whose_run_it_is_and_changes_nothing(spare: Spare) -> None:
    with holding_the_lock(spare.file, NODE, "alice@laptop"):
        run = deploy(spare.file)
    assert not run.succeeded
    assert f"{NODE} is being changed by alice@laptop since " in run.output
    assert "Starting operation" not in run.output


@pytest.mark.usefixtures("put_back")
def test_a_full_disk_is_named_with_host_operation_and_remedy(spare: Spare) -> None:
    _make_odd(spare, "full-disk")
    try:
        run = deploy(spare.file)
    finally:
        spare.host.check_output("umount /opt/portside")
    assert not run.succeeded
    [line] = [each for each in run.output.splitlines() if each.startswith(f"    {NODE}: ")]
    assert line.startswith(f"    {NODE}: Agent | Release: ")
    assert "No space left on device: its disk is full: make room" in line


def test_a_run_that_only_looks_shows_what_would_change_and_changes_nothing(
    spare: Spare, changed_cluster: Callable[[str, str], Path]
) -> None:
    changed = changed_cluster("https://app.portside.test", "https://new.portside.test")
    before = spare.host.file("/etc/nginx/nginx.conf").sha256sum
    run = deploy(changed, "--dry")
    assert run.succeeded, run.output
    assert "https://new.portside.test" in run.output
    assert spare.host.file("/etc/nginx/nginx.conf").sha256sum == before
