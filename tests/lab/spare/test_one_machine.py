"""One machine for everything: a storage node that is the control plane too, with PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lab.control_plane import SERVICES, TIMER, ControlPlane
from tests.support.lab.deploy import deploy
from tests.support.lab.machine import open_ports
from tests.support.lab.spare import NODE, Spare


@pytest.fixture
def box(spare: Spare, changed_cluster: Callable[[str, str], Path]) -> Iterator[Path]:
    """A cluster file in which the node is the control plane too, with PostgreSQL.

    It has never been that before: a deploy takes nothing away, so that goes by hand.
    """
    off = f"systemctl disable --quiet --now {' '.join(SERVICES)} {TIMER} postgresql"
    spare.host.run(off)
    spare.host.check_output(
        "rm -rf /etc/systemd/system/portside-control* /opt/portside/control "
        "/var/lib/portside-control /var/backups/portside-control /etc/portside/control* "
        "/etc/portside/issuer.json /var/lib/portside-deploy/control*; systemctl daemon-reload"
    )
    path = changed_cluster(f"{NODE}: {{}}", f"{NODE}: {{roles: [storage, control]}}")
    path.write_text(path.read_text().replace("database: sqlite", "database: postgresql"))
    yield path
    spare.host.run(off)


@pytest.mark.usefixtures("put_back")
def test_one_machine_stores_and_controls_with_postgresql(box: Path, spare: Spare) -> None:
    first = deploy(box)
    assert first.succeeded, first.output
    second = deploy(box)
    assert (second.hosts("success"), second.hosts("error")) == ({}, {})

    host, name, trust = spare.host, spare.node.host, spare.node.trust
    assert open_ports(host) == {"22", "80", "443", "8443"}
    stores = ControlPlane(name, trust, key="", port=443)
    controls = ControlPlane(name, trust, key="", port=8443)
    assert stores.ask("GET", "/health/ready").status == 200
    assert controls.ask("GET", "/health/ready").status == 200
    assert controls.ask("GET", "/api/v1/nodes").slug == "key-missing"
    # Neither can look into the other's.
    web = host.check_output("systemctl show --property MainPID --value portside-control.service")
    seen = f"nsenter --target {web} --mount ls -A /srv/portside"
    assert host.check_output(seen) == ""
    assert host.run("runuser -u portside -- cat /etc/portside/issuer.json").rc != 0

    host.check_output("systemctl start portside-control-backup.service")
    newest = host.check_output("ls /var/backups/portside-control/*.dump | tail -n 1")
    host.check_output(f"/usr/local/libexec/portside-control-backup restore {newest}")
    assert controls.ask("GET", "/health/ready").status == 200
