"""What a breach would find on real machines, as systemd judges it, and updates under an upload."""

from __future__ import annotations

import os
from collections.abc import Mapping

from testinfra.host import Host

from portside.quantities import MIB
from tests.support.lab.deploy import Run, deploy
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node, read_answer

NGINX = 3.0
"""5.0 is what was asked for; this close a dropped line shows."""
OURS = 2.0


def _exposures(host: Host) -> dict[str, float]:
    """What systemd-analyze(1) says of each service that runs on: what it doesn't list by itself is
    over at boot, as whoever loads the firewall's rules."""
    lines = host.check_output("systemd-analyze security --no-pager").splitlines()
    return {unit: float(exposure) for unit, exposure, *_ in map(str.split, lines[1:])}


def test_little_of_the_system_is_exposed_to_a_breach(nodes: Mapping[str, Host]) -> None:
    for node_id, host in nodes.items():
        found = _exposures(host)
        ours = {unit: each for unit, each in found.items() if unit.startswith("portside-")}
        assert ours, node_id
        assert {unit: each for unit, each in ours.items() if each > OURS} == {}, node_id
        assert found["nginx.service"] <= NGINX, node_id


def test_nginx_runs_in_its_sandbox(storage: Host) -> None:
    master = storage.check_output("cat /run/nginx.pid")
    status = storage.check_output(f"cat /proc/{master}/status")
    # setgid, setuid, kill, net_bind_service, chown, dac_override: capabilities(7).
    assert "CapBnd:\t00000000000004e3\n" in status
    assert "NoNewPrivs:\t1\n" in status
    inside = f"nsenter --target {master} --mount"
    assert storage.check_output(f"{inside} ls /etc/portside") == "tls"
    for path in ("/etc/nginx", "/etc/portside/tls", "/opt/portside", "/var/lib/portside"):
        assert storage.run(f"{inside} touch {path}/.probe").rc != 0, path
    # A data disk that comes later is seen: what is above it is as on the node.
    storage.check_output("mkdir -p /srv/late && mount -t tmpfs late /srv/late && touch /srv/late/x")
    try:
        assert storage.run(f"{inside} test -e /srv/late/x").rc == 0
    finally:
        storage.check_output("umount /srv/late && rmdir /srv/late")


def test_an_upload_goes_on_while_nginx_takes_up_a_replaced_library(
    nodes: Mapping[str, Host], talk: Mapping[str, Node], provisioned: Run
) -> None:
    """And settings in the same run, while the old master still finishes that upload."""
    host, node, content = nodes["s02"], talk["s02"], os.urandom(2 * MIB)
    with node.open_put("update.bin", len(content), node.mint()) as running:
        running.sendall(content[:MIB])
        host.check_output(
            "library=$(readlink -f /usr/lib/*/libssl.so.3) && "
            "cp -p $library $library.new && mv -f $library.new $library && "
            # As if its settings were others: it reads them again.
            "rm /var/lib/portside-deploy/nginx.stamp"
        )
        run = deploy(LAB, "--limit", "s02")
        assert run.succeeded, run.output
        assert {name.rpartition(" | ")[2] for name in run.hosts("success")} == {
            "Nodes take over, one after the other",
            "nginx runs what is installed",
            "nginx serves it",
        }
        told = [line for line in run.output.splitlines() if "an upgrade has replaced" in line]
        assert "portside-agent.service" in told[0]
        host.check_output("! grep ' /usr/.*(deleted)' /proc/$(cat /run/nginx.pid)/maps")
        running.sendall(content[MIB:])
        assert read_answer(running).status == 201
