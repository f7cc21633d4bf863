"""What runs on one of the lab's machines, and what listens there."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
