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

ODD = PROJECT_ROOT / "lab" / "odd"
BARE = PROJECT_ROOT / ".vagrant" / "odd.ssh-config"
"""The lab's own, for machines as they come up."""
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


def make_odd(node_id: str, *names: str) -> None:
    """Run scripts of lab/odd on a machine that is as it came up."""
    for name in names:
        subprocess.run(
            ["ssh", "-F", BARE, node_id, "sudo", "SECONDS_BUSY=30", "sh", "-s"],
            input=(ODD / f"{name}.sh").read_bytes(),
            check=True,
            capture_output=True,
        )


def _identity() -> str:
    """The key that lets people into the lab's machines."""
    [line] = {each for each in BARE.read_text().splitlines() if "IdentityFile" in each}
    return line.split()[1]
