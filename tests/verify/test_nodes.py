"""What every node of a cluster promises, whoever's it is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from testinfra.host import Host

from deploys.rollout import proof, round_trip
from operate.look import Look, services
from operate.site import Site
from portside import sizing
from portside.operator.programs import MARKER, PROGRAMS
from tests.support.nodes_by_testinfra import reached

CLOCK_OFF = 5.0
LEAST_CERTIFICATE = timedelta(days=7)


@pytest.fixture
def host(site: Site, node_id: str) -> Host:
    return reached(site, node_id)


@pytest.fixture
def storage(site: Site, storage_node: str) -> Host:
    return reached(site, storage_node)


def test_services_run_and_come_back_after_a_boot(site: Site, node_id: str, host: Host) -> None:
    for name in services(site, node_id):
        assert host.service(name).is_running, name
        assert host.service(name).is_enabled, name


def test_services_are_sandboxed(site: Site, node_id: str, host: Host) -> None:
    # Tenths of systemd's exposure: 2.0 is what the project promises of its own services.
    for role in site.cluster.roles_of(node_id):
        for name in PROGRAMS[role].services:
            assert host.run(f"systemd-analyze security --threshold=20 {name}.service").rc == 0, name


def test_it_is_ready_and_warns_of_nothing(node_id: str, looks: Mapping[str, Look]) -> None:
    for role, ready in looks[node_id].ready.items():
        assert (ready.ready, ready.reasons, ready.warnings) == (True, (), ()), role


def test_secrets_are_for_those_who_need_them(site: Site, node_id: str, host: Host) -> None:
    secrets = {"storage": ["node.key"], "control": ["issuer.json", "control.database"]}
    for role in site.cluster.roles_of(node_id):
        for name in secrets[role]:
            file = host.file(f"/etc/portside/{name}")
            if file.exists:
                assert (file.user, file.mode) == (PROGRAMS[role].user, 0o600), name
    assert host.file("/etc/portside/tls").mode == 0o700
    assert host.file("/etc/portside/tls/node.pem").mode == 0o600


def test_nothing_is_left_of_what_deploys_uploaded(host: Host) -> None:
    assert host.check_output("ls -A /var/lib/portside-deploy/uploads") == ""


def test_its_certificate_is_for_its_name_and_lasts(site: Site, node_id: str) -> None:
    name = site.cluster.host(node_id)
    authority = None if site.authority is None else str(site.authority)
    context = ssl.create_default_context(cafile=authority)
    with (
        socket.create_connection((name, 443), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        found = tls.getpeercert()
    assert found is not None
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    assert ends - datetime.now(UTC) > LEAST_CERTIFICATE


def test_only_whole_releases_are_kept(site: Site, node_id: str, host: Host) -> None:
    for role in site.cluster.roles_of(node_id):
        program = PROGRAMS[role]
        kept = host.check_output(f"ls {program.releases}").split()
        assert 1 <= len(kept) <= 3
        assert host.check_output(f"basename $(readlink {program.current})") in kept
        assert host.file(f"{program.current}/.complete").exists


def test_the_data_disk_is_this_nodes_own(site: Site, storage_node: str, storage: Host) -> None:
    marker = storage.file(f"{site.cluster.uploads.root}/{MARKER}")
    assert marker.content_string == f"{storage_node}\n"


def test_limits_follow_the_ram_of_the_node(
    storage_node: str, storage: Host, looks: Mapping[str, Look]
) -> None:
    look = looks[storage_node]
    cores = int(storage.check_output("nproc"))
    machine = sizing.Machine(look.memory.total, cores, look.disks[0].total)
    wanted = sizing.size(machine).agent_memory_max
    found = int(storage.check_output("systemctl show --property=MemoryMax --value portside-agent"))
    # A kernel's upgrade changes what it shows of RAM by a little.
    assert abs(found - wanted) <= wanted // 50


def test_its_key_is_the_one_that_the_others_know(
    site: Site, storage_node: str, storage: Host
) -> None:
    known = site.keystore.node_keys()[storage_node]
    assert known.kid in storage.check_output("portside-agent identity")


def test_it_takes_a_file_gives_it_back_and_deletes_it(site: Site, storage_node: str) -> None:
    task = proof.task_for(site.cluster, storage_node)
    authority = None if site.authority is None else site.authority.read_text()
    assert round_trip.round_trip(**task, authority=authority) is None
