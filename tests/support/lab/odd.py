"""A cluster of VPSes as providers hand them out: the lab of lab/odd.json, made odd by lab/odd/*.sh.

Reached as an operator reaches their own: by an OpenSSH configuration with a user and a port.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import testinfra
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.operator import certificates
from tests.support.lab.control_plane import wait_for
from tests.support.lab.deploy import Run, deploy

ODD = PROJECT_ROOT / "lab" / "odd"
BARE = PROJECT_ROOT / ".vagrant" / "odd.ssh-config"
"""The lab's own, for machines as they come up."""
CONTAINER = "portside-odd-"
"""What its name begins with, for LXC."""
CONTROL, FIRST, SECOND = NODES = ("eu-c1", "eu-s1", "eu-s2")
DOMAIN = "odd.test"


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone's folder: the cluster file, their certificates, their configuration of SSH."""

    folder: Path

    @property
    def file(self) -> Path:
        """The cluster file."""
        return self.folder / "odd.yaml"

    @property
    def authority(self) -> Path:
        """The CA that signed the nodes' certificates."""
        return self.folder / "ca.pem"

    def begin(self) -> None:
        """Write all of it."""
        key = _identity()
        (self.folder / "ssh_config").write_text(
            f"Host *.{DOMAIN}\n  User admin\n  Port 2222\n  IdentityFile {key}\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n"
        )
        ca = certificates.make_ca("an authority of one's own")
        self.authority.write_bytes(ca.certificate_pem)
        (self.folder / "ca.key").write_bytes(ca.key_pem)
        self.certify()
        self.file.write_text(
            f"name: odd\ndomain: {DOMAIN}\n"
            f"ssh: {{config: {self.folder}/ssh_config, host_keys: accept-new}}\n"
            "roles: {storage: '-s\\d+$', control: '-c\\d+$'}\n"
            f"nodes: {{{', '.join(f'{node_id}: {{}}' for node_id in NODES)}}}\n"
            "uploads: {max_size: 1GiB}\n"
            f"tls: {{mode: files, directory: {self.folder}, authority: {self.authority}}}\n"
            "firewall: {allow: [51820/udp]}\n"
            "replication: {factor: 2}\n"
            "limits: {slots_per_owner: 1, promised_per_owner: 1, slots_per_address: 1}\n"
        )

    def certify(self) -> None:
        """A new certificate for each node, by the same authority."""
        key = (self.folder / "ca.key").read_bytes()
        ca = certificates.Pair(self.authority.read_bytes(), key)
        for node_id in NODES:
            pair = certificates.issue(ca, f"{node_id}.{DOMAIN}")
            (self.folder / f"{node_id}.crt").write_bytes(pair.certificate_pem)
            (self.folder / f"{node_id}.key").write_bytes(pair.key_pem)

    def logged_in(self, node_id: str) -> Host:
        """The machine over SSH as its operator, with root's rights."""
        return testinfra.get_host(
            f"ssh://{node_id}.{DOMAIN}",
            sudo=True,
            ssh_config=str(self.folder / "ssh_config"),
            ssh_extra_args="-o StrictHostKeyChecking=accept-new",
        )


def reboot(node_id: str, host: Host) -> None:
    """Shut the machine down and boot it anew, as its operator would; it may take a while."""
    before = _booted(host)
    subprocess.run(["lxc-stop", "--reboot", "--name", f"{CONTAINER}{node_id}"], check=True)
    wait_for("it boots", 600, lambda: _booted(host) not in ("", before) or None)


def cut_the_power(node_id: str) -> None:
    """Nothing that runs on the machine hears of it."""
    subprocess.run(["lxc-stop", "--kill", "--name", f"{CONTAINER}{node_id}"], check=True)


def give_power(node_id: str) -> None:
    """Boot a machine that is off."""
    subprocess.run(["lxc-start", "--name", f"{CONTAINER}{node_id}"], check=True)


def make_odd(node_id: str, *names: str) -> None:
    """Run scripts of lab/odd on a machine that is as it came up."""
    for name in names:
        subprocess.run(
            ["ssh", "-F", BARE, node_id, "sudo", "sh", "-s"],
            input=(ODD / f"{name}.sh").read_bytes(),
            check=True,
            capture_output=True,
        )


def deploy_while_apt_is_busy(cluster: Path, host: Host) -> Run:
    """A run that finds the machine as apt-is-busy.sh left it; apt is free once that is said."""

    def let_go() -> None:
        host.check_output(
            "systemctl stop apt-daily.service && "
            "rm -rf /run/systemd/system/apt-daily.service.d && systemctl daemon-reload"
        )

    def heard(line: str) -> None:
        if "waiting for apt-daily.service" in line:
            let_go()

    try:
        return deploy(cluster, heard=heard)
    finally:
        let_go()


def _booted(host: Host) -> str:
    """When the machine did; nothing while it can't be asked."""
    try:
        return str(host.run("ps -o lstart= -p 1").stdout)
    except RuntimeError:
        # testinfra's, where SSH itself fails.
        return ""


def _identity() -> str:
    """The key that lets people into the lab's machines."""
    [line] = {each for each in BARE.read_text().splitlines() if "IdentityFile" in each}
    return line.split()[1]
