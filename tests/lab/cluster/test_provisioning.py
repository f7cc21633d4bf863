"""What provisioning makes of real machines, and that it converges."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from portside import sizing
from portside.cluster.file import Cluster
from portside.quantities import MIB
from tests.support.lab.deploy import Run, deploy
from tests.support.lab.machine import (
    nginx_workers,
    open_ports,
    something_listens,
    ssh_commands_counted,
)
from tests.support.lab.places import LAB

SERVICES = ("portside-agent.service", "portside-agent-worker.service")


MOST_COMMANDS = 12
"""Over SSH to each host, in a run that changes nothing."""


def test_a_second_run_changes_nothing_and_asks_little(
    provisioned: Run, nodes: Mapping[str, Host]
) -> None:
    with ssh_commands_counted(nodes) as counts:
        again = deploy(LAB)
    assert again.succeeded, again.output
    assert (again.hosts("success"), again.hosts("error")) == ({}, {})
    assert len(again.hosts("no_change")) >= 20
    assert counts.keys() == nodes.keys()
    assert all(1 <= count <= MOST_COMMANDS for count in counts.values()), counts


def test_looking_only_asks_as_little(provisioned: Run, nodes: Mapping[str, Host]) -> None:
    with ssh_commands_counted(nodes) as counts:
        looked = deploy(LAB, "--dry")
    assert looked.succeeded, looked.output
    assert all(1 <= count <= MOST_COMMANDS for count in counts.values()), counts


def test_the_run_says_what_a_container_leaves_out(provisioned: Run) -> None:
    skipped = [line for line in provisioned.output.splitlines() if "skipped" in line]
    assert {line.split("]")[0].strip(" [") for line in skipped} == {"c01", "s01", "s02", "s03"}
    assert all("vm.dirty_bytes" in line and "net.core.default_qdisc" in line for line in skipped)


def test_nodes_without_the_role_are_left_alone(nodes: Mapping[str, Host]) -> None:
    assert not nodes["c01"].file("/etc/systemd/system/portside-agent.service").exists


def test_only_ssh_http_and_https_come_in(cluster: Cluster, nodes: Mapping[str, Host]) -> None:
    address = cluster.host("s03")
    with something_listens(nodes["s03"], 8099):
        for port in (22, 80, 443):
            socket.create_connection((address, port), timeout=60).close()
        with pytest.raises(TimeoutError):
            socket.create_connection((address, 8099), timeout=1)


def test_nothing_else_listens(storage: Host) -> None:
    assert open_ports(storage) == {"22", "80", "443"}


@pytest.mark.parametrize("service", ["nginx", "portside-firewall", *SERVICES])
def test_services_run_and_come_back_after_a_boot(storage: Host, service: str) -> None:
    assert storage.service(service).is_running
    assert storage.service(service).is_enabled


# In tenths: 2.0 is what was asked for; this close a dropped directive shows. The worker has the
# network.
@pytest.mark.parametrize(("service", "exposure"), list(zip(SERVICES, (5, 14), strict=True)))
def test_services_are_sandboxed(storage: Host, service: str, exposure: int) -> None:
    assert storage.run(f"systemd-analyze security --threshold={exposure} {service}").rc == 0
    pid = storage.check_output(f"systemctl show --property MainPID --value {service}")
    status = dict(
        line.split(":\t", 1)
        for line in storage.check_output(f"cat /proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = f"nsenter --target {pid} --mount --net"
    assert storage.run(f"{inside} touch /etc/portside/x").rc != 0
    assert storage.run(f"{inside} touch /srv/portside/state/.probe").rc == 0
    storage.check_output("rm /srv/portside/state/.probe")
    # The worker calls webhooks; who takes uploads reaches nobody.
    interfaces = storage.check_output(f"{inside} cat /proc/net/dev")
    assert ("eth0" in interfaces) is (service == "portside-agent-worker.service")


@pytest.mark.parametrize(
    ("path", "owner", "mode"),
    [
        ("/etc/portside", "root:portside", 0o750),
        ("/etc/portside/agent.toml", "root:portside", 0o640),
        ("/etc/portside/keyset.json", "root:portside", 0o640),
        ("/etc/portside/node.key", "portside:portside", 0o600),
        ("/etc/portside/tls", "root:root", 0o700),
        ("/etc/portside/tls/node.pem", "root:root", 0o600),
        ("/srv/portside", "portside:portside", 0o755),
        ("/srv/portside/uploads", "portside:portside", 0o2755),
        ("/srv/portside/staging", "portside:portside", 0o700),
        ("/srv/portside/state", "portside:portside", 0o700),
        ("/run/portside", "portside:portside", 0o750),
        ("/var/lib/portside-deploy/uploads", "vagrant:root", 0o700),
    ],
)
def test_secrets_and_data_are_for_those_who_need_them(
    storage: Host, path: str, owner: str, mode: int
) -> None:
    found = storage.file(path)
    assert (f"{found.user}:{found.group}", found.mode) == (owner, mode)


def test_nothing_is_left_of_what_was_uploaded(storage: Host) -> None:
    assert storage.check_output("ls -A /var/lib/portside-deploy/uploads") == ""
    assert storage.check_output("find /etc /opt/portside -name '.candidate-*'") == ""


def test_each_node_has_its_own_key_and_name(nodes: Mapping[str, Host], cluster: Cluster) -> None:
    keys = set()
    for node_id in cluster.with_role("storage"):
        host = nodes[node_id]
        assert host.check_output("hostname --fqdn") == cluster.host(node_id)
        assert host.file("/srv/portside/.portside-root").content_string == f"{node_id}\n"
        keys.add(host.check_output("sha256sum < /etc/portside/node.key"))
    assert len(keys) == len(cluster.with_role("storage"))


def test_limits_follow_the_ram_of_the_node(nodes: Mapping[str, Host]) -> None:
    host = nodes["s03"]
    cores = int(host.check_output("nproc"))
    disk = int(host.check_output("df --block-size=1 --output=size /srv/portside | tail -n 1"))
    wanted = sizing.size(sizing.Machine(ram=512 * MIB, cores=cores, disk=disk))
    agent = host.check_output("systemctl show --property MemoryMax --value portside-agent")
    assert int(agent) == wanted.agent_memory_max
    window = host.check_output("cat /proc/sys/net/ipv4/tcp_rmem").split()[2]
    assert int(window) == wanted.tcp_window
    assert host.file("/etc/portside/agent.toml").contains(f"upload_slots = {wanted.upload_slots}")


def test_nginx_workers_may_open_as_many_files_as_they_are_told(storage: Host) -> None:
    wanted = storage.check_output("sed -n 's/^worker_rlimit_nofile //p' /etc/nginx/nginx.conf")
    worker = nginx_workers(storage).split()[0]
    limit = storage.check_output(f"awk '/^Max open files/ {{print $4}}' /proc/{worker}/limits")
    assert f"{limit};" == wanted


def test_only_as_many_old_releases_stay_as_can_be_gone_back_to(storage: Host) -> None:
    releases = storage.check_output("ls /opt/portside/releases").split()
    assert 1 <= len(releases) <= 3
    current = storage.check_output("readlink /opt/portside/current")
    assert current.removeprefix("releases/") in releases


def test_root_finds_the_agents_command_and_others_are_told_to_use_sudo(storage: Host) -> None:
    """By a login's PATH and by sudo's; it runs as the agent's user, with the agent's settings."""
    for command in ("sudo portside-agent check", "bash -lc 'portside-agent check'"):
        assert "settings, keys and" in storage.run_expect([0], command).stdout
    listed = storage.run_expect([0], "portside-agent quarantine --no-ask")
    assert listed.stdout.endswith("in quarantine\n")
    refused = storage.run_expect([1], "runuser -u nobody -- /usr/local/bin/portside-agent check")
    assert "sudo portside-agent check" in refused.stderr
