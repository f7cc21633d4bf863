"""What was changed by hand on a node is mended by the next run, with no more than that needs."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.lab.deploy import deploy
from tests.support.lab.machine import nginx_workers
from tests.support.lab.spare import Spare

CURRENT = "/opt/portside/current"


def _process(host: Host, service: str) -> str:
    shown: str = host.check_output(f"systemctl show --property MainPID --value {service}")
    return shown


def test_modes_and_settings_are_put_back_and_nothing_starts_anew(spare: Spare) -> None:
    host = spare.host
    running = _process(host, "portside-agent"), nginx_workers(host)
    host.check_output(
        "chown root:root /etc/portside/node.key && chmod 0644 /etc/portside/node.key && "
        "chmod 0777 /etc/portside /srv/portside/state && sysctl -qw net.ipv4.tcp_mtu_probing=0"
    )
    run = deploy(spare.file)
    assert run.succeeded, run.output
    assert set(run.hosts("success")) == {
        "Base | Folders of the service",
        "Tuning | Kernel settings are in force",
        "Disk | Data folders",
        "Nodes take over, one after the other",
        "Agent | The node's key is the agent's alone",
    }
    key = host.file("/etc/portside/node.key")
    assert (key.user, key.group, key.mode) == ("portside", "portside", 0o600)
    assert (_process(host, "portside-agent"), nginx_workers(host)) == running


def test_what_was_removed_masked_or_pointed_elsewhere_is_put_back(spare: Spare) -> None:
    host = spare.host
    host.check_output(
        "rm -r /etc/portside/agent.toml /usr/local/bin/portside-agent /srv/portside/quarantine && "
        "ln -sfn releases/nothing /opt/portside/current && gpasswd -d www-data portside && "
        "ln -sf /dev/null /etc/systemd/system/portside-agent-worker.service && "
        "echo broken > /etc/nginx/nginx.conf && systemctl stop nginx && systemctl mask nginx && "
        "systemctl disable --now portside-agent"
    )
    run = deploy(spare.file)
    assert run.succeeded, run.output
    spare.node.wait_until_ready()
    again = deploy(spare.file)
    assert (again.hosts("success"), again.hosts("error")) == ({}, {})


def test_a_python_that_was_replaced_under_a_release_heals_at_the_next_start(spare: Spare) -> None:
    """What a dist-upgrade leaves, the other way round: packages for a Python that isn't there."""
    host = spare.host
    packages = host.check_output(
        f"echo {CURRENT}/venv/lib/$(basename $(readlink -f /usr/bin/python3))"
    )
    host.check_output(f"mv {packages} {CURRENT}/venv/lib/python3.9")
    host.check_output("systemctl restart portside-agent portside-agent-worker")
    spare.node.wait_until_ready()
    assert host.file(f"{packages}/.made").exists
    host.check_output(f"rm -r {CURRENT}/venv/lib/python3.9")
    run = deploy(spare.file)
    assert (run.succeeded, run.hosts("success")) == (True, {})


def test_a_python_that_was_replaced_is_noticed_by_a_deploy_before_the_next_start(
    spare: Spare,
) -> None:
    host = spare.host
    packages = host.check_output(
        f"echo {CURRENT}/venv/lib/$(basename $(readlink -f /usr/bin/python3))"
    )
    host.check_output(f"mv {packages} {CURRENT}/venv/lib/python3.9")
    run = deploy(spare.file)
    assert run.succeeded, run.output
    assert "Agent | Release" in run.hosts("success")
    assert host.file(f"{packages}/.made").exists
    host.check_output(f"rm -r {CURRENT}/venv/lib/python3.9")
    spare.node.wait_until_ready()
