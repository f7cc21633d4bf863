"""From bare, odd machines to a cluster that holds files, and what befalls it there. A story: the
tests stand in its order."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.quantities import MIB
from tests.support.lab.deploy import Run, deploy
from tests.support.lab.odd import (
    CONTROL,
    FIRST,
    ODD,
    SECOND,
    Operator,
    cut_the_power,
    deploy_while_apt_is_busy,
    give_power,
    reboot,
)
from tests.support.lab.requests import Node


def _portside(operator: Operator, *words: str) -> str:
    """The command, from the project's folder."""
    done = subprocess.run(
        [sys.executable, "-c", "from portside.cli import main; main()", *words],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PORTSIDE_CLUSTER": str(operator.file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _line_about(run: Run, node_id: str) -> str:
    """What the run's last lines say of a host."""
    [line] = [each for each in run.output.splitlines() if re.match(rf" +{node_id}: ", each)]
    return line


def _holds_files(node: Node) -> None:
    content = os.urandom(3 * MIB)
    answer = node.put("a.bin", content)
    assert answer.status == 201, answer.body
    path = answer.headers["Location"].removeprefix(f"https://{node.host}")
    assert node.download_digest(path) == (len(content), hashlib.sha256(content).hexdigest())


def _refuses(node: Node, slug: str) -> bool:
    answer = node.put("a.bin", b"x")
    return answer.status == 503 and answer.slug == slug


@contextmanager
def _killing(host: Host, what: str) -> Iterator[None]:
    """What runs with these words is killed once it is there; they don't match themselves."""
    over = threading.Event()

    def kill() -> None:
        while not over.is_set() and host.run("pkill -9 -f %s", what).rc != 0:
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def test_what_is_in_the_way_on_one_is_said_and_the_others_are_finished(
    operator: Operator, machines: Mapping[str, Host]
) -> None:
    _portside(operator, "cluster", "check")
    _portside(operator, "keys", "init")
    run = deploy_while_apt_is_busy(operator.file, machines[FIRST])
    assert not run.succeeded
    assert "Traceback" not in run.output
    assert "apache2" in _line_about(run, SECOND)
    assert "apt purge apache2" in run.output
    assert "waiting for apt-daily.service" in run.output
    assert not machines[SECOND].package("nginx").is_installed
    for service in ("portside-agent", "nginx"):
        assert machines[FIRST].service(service).is_running, run.output
    assert machines[CONTROL].service("portside-control").is_running, run.output


@pytest.mark.parametrize("what", ["apt-get[ ]install", "pip/pip[ ]install"])
def test_a_run_whose_program_is_killed_says_so(
    operator: Operator, machines: Mapping[str, Host], what: str
) -> None:
    machines[SECOND].run("apt-get -qq -y purge 'apache2*'")
    with _killing(machines[SECOND], what):
        run = deploy(operator.file, "--limit", SECOND)
    assert not run.succeeded
    assert "Traceback" not in run.output
    assert SECOND in run.output


def test_the_next_run_finishes_it_and_the_one_after_changes_nothing(operator: Operator) -> None:
    run = deploy(operator.file, script="storage_node.py")
    assert run.succeeded, run.output
    run = deploy(operator.file)
    assert run.succeeded, run.output
    again = deploy(operator.file)
    assert again.succeeded, again.output
    assert again.hosts("success") == {}


def test_they_hold_files_and_copies(operator: Operator, talk: Mapping[str, Node]) -> None:
    for node in talk.values():
        _holds_files(node)
    path = operator.folder / "by-command.bin"
    path.write_bytes(os.urandom(MIB))
    said = _portside(operator, "put", "--node", FIRST, "--namespace", "lab", str(path))
    assert said.startswith(f"https://{CONTROL}.odd.test/f/")


def test_only_what_is_named_is_let_in(machines: Mapping[str, Host]) -> None:
    rules = machines[FIRST].check_output("nft list table inet portside")
    assert "udp dport 51820 accept" in rules
    for node_id in (FIRST, SECOND):
        scanned = subprocess.run(
            ["nmap", "-Pn", "-n", "-p-", "--min-rate", "5000", "-oG", "-", f"{node_id}.odd.test"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert set(re.findall(r"(\d+)/open/tcp", scanned)) == {"80", "443", "2222"}


def test_a_disk_that_is_away_is_said_and_one_that_is_back_is_used(
    machines: Mapping[str, Host], talk: Mapping[str, Node]
) -> None:
    node, host = talk[SECOND], machines[SECOND]
    host.check_output("systemctl stop portside-agent-worker; umount -l /srv/portside")
    # For a moment the agent goes on with the disk that it has.
    _until(lambda: _refuses(node, "disk-unmounted"))
    assert host.check_output("ls -A /srv/portside") == ""
    host.check_output("mount /srv/portside")
    node.wait_until_ready()
    _holds_files(node)
    host.check_output("systemctl start portside-agent-worker")


def test_a_full_disk_and_a_host_that_is_down_are_theirs_alone(
    operator: Operator, machines: Mapping[str, Host], talk: Mapping[str, Node]
) -> None:
    cut_the_power(FIRST)
    full = (ODD / "full-disk.sh").read_text()
    machines[SECOND].check_output("sh -c %s", full)
    try:
        run = deploy(operator.file)
    finally:
        machines[SECOND].check_output("umount /opt/portside")
        give_power(FIRST)
    assert not run.succeeded
    assert "Traceback" not in run.output
    assert "is it up" in _line_about(run, FIRST)
    assert "its disk is full" in _line_about(run, SECOND)
    talk[FIRST].wait_until_ready()
    after = deploy(operator.file)
    assert after.succeeded, after.output


def test_a_dist_upgrade_is_outlived(
    operator: Operator, machines: Mapping[str, Host], talk: Mapping[str, Node]
) -> None:
    host = machines[FIRST]
    host.check_output("sed -i 's/bookworm/trixie/g' /etc/apt/sources.list.d/debian.sources")
    host.check_output(
        "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y full-upgrade "
        "-o Dpkg::Options::=--force-confold >/dev/null"
    )
    reboot(FIRST, host)
    talk[FIRST].wait_until_ready()
    _holds_files(talk[FIRST])
    assert deploy(operator.file).succeeded
    again = deploy(operator.file)
    assert again.hosts("success") == {}


def _until(happened: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.5)
