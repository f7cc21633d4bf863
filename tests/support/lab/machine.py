"""What runs on one of the lab's machines, and what listens there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from testinfra.host import Host


def nginx_workers(host: Host) -> str:
    """The pids of nginx's workers, a line each; without those that end as soon as they are done."""
    workers: str = host.check_output(
        "ps --ppid $(cat /run/nginx.pid) -o pid=,args= | "
        r"sed -n '/shutting down/!s/^ *\([0-9]*\) .*/\1/p'"
    )
    return workers


def open_ports(host: Host) -> set[str]:
    """The TCP ports that something listens on for others than the machine itself."""
    lines = host.check_output("ss --tcp --listening --numeric --no-header").splitlines()
    places = [line.split()[3] for line in lines]
    return {
        each.rpartition(":")[2] for each in places if not each.startswith(("127.0.0.", "[::1]"))
    }


def killed_for_memory(host: Host, unit: str) -> int:
    """How many of the unit's processes the kernel has killed because its memory was used up."""
    group = host.check_output(f"systemctl show --value -p ControlGroup {unit}")
    # cgroup v2, and v1.
    places = f"/sys/fs/cgroup{group}/memory.events /sys/fs/cgroup/memory{group}/memory.oom_control"
    return int(
        host.check_output(
            f"for file in {places}; do "
            """[ ! -e $file ] || awk '$1 == "oom_kill" { print $2 }' $file; done"""
        )
    )


@contextmanager
def something_listens(host: Host, port: int) -> Iterator[None]:
    """Something that isn't ours, on a port of the machine for as long as the block lasts."""
    host.check_output(
        "systemd-run --quiet --collect --unit=lab-listener --property=RuntimeMaxSec=900 "
        f"python3 -m http.server {port}"
    )
    try:
        deadline = time.monotonic() + 60
        while not host.socket(f"tcp://0.0.0.0:{port}").is_listening:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        host.check_output("systemctl stop lab-listener")


_COUNTED = "/etc/ssh/sshd_config.d/10-counted.conf"


@contextmanager
def ssh_commands_counted(hosts: Mapping[str, Host]) -> Iterator[dict[str, int]]:
    """By host how many commands and file transfers were started over SSH while the block ran, by
    others than these tests: known when it ends."""
    for host in hosts.values():
        host.check_output(f"echo 'LogLevel VERBOSE' > {_COUNTED} && systemctl reload ssh.service")
    counts: dict[str, int] = {}
    try:
        before = {name: _ssh_commands(host) for name, host in hosts.items()}
        yield counts
        # Its own connection is older than this level of the log, so it isn't among them.
        counts.update({name: _ssh_commands(host) - before[name] for name, host in hosts.items()})
    finally:
        for host in hosts.values():
            host.check_output(f"rm {_COUNTED} && systemctl reload ssh.service")


def _ssh_commands(host: Host) -> int:
    # The session's own process says it, which has another name from Debian 13 on.
    return int(
        host.run(
            "journalctl --sync; journalctl -t sshd -t sshd-session --since=-1h --output=cat | "
            "grep -c '^Starting session: '"
        ).stdout
    )
