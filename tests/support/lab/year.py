"""A cluster that lives through a year in an hour: lab/year.json, and its operator's folder.

Reached as an operator reaches their own; verbs are typed as they type them.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import testinfra
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from lab import containers, machines
from portside.cluster.file import CLUSTER_VARIABLE, load
from portside.operator.keystore import Keystore
from tests.support.lab.control_plane import wait_for
from tests.support.lab.verbs import FAB, fab

MACHINES = PROJECT_ROOT / "lab" / "year.json"
SSH_CONFIG = PROJECT_ROOT / ".vagrant" / "year.ssh-config"
DOMAIN = "year.test"
CONTROL, FIRST, SECOND, THIRD, FOURTH = (
    "year-c1",
    "year-s1",
    "year-s2",
    "year-s3",
    "year-s4",
)


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone's folder: the cluster file, secrets, backups."""

    folder: Path

    @property
    def file(self) -> Path:
        """The cluster file."""
        return self.folder / "year.yaml"

    def begin(self, node_ids: Sequence[str]) -> None:
        """Write the cluster file and make the keys."""
        self.file.write_text(
            f"name: year\ndomain: {DOMAIN}\n"
            f"ssh: {{config: {SSH_CONFIG}, host_keys: accept-new}}\n"
            "roles: {storage: '-s\\d+$', control: '-c\\d+$'}\n"
            "nodes:\n"
            + "".join(f"  {node_id}: {{}}\n" for node_id in node_ids)
            + "uploads: {root: /srv/portside, max_size: 1GiB}\n"
            "tls: {mode: lab}\n"
            # A machine that dies takes nothing along that was acknowledged.
            "replication: {factor: 2, ack: replicated}\n"
            "control: {heartbeat: 3s, dead_after: 15s, repair_after: 20s}\n"
            "limits: {slots_per_owner: 1, promised_per_owner: 1, slots_per_address: 1}\n"
        )
        self.portside("keys", "init")

    def portside(self, *words: str) -> str:
        """What the command says that succeeds."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("portside")), *words],
            cwd=PROJECT_ROOT,
            env={**os.environ, CLUSTER_VARIABLE: str(self.file)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def said(self, *words: str) -> str:
        """What a verb that succeeds says on standard output."""
        return self._ran(0, words).stdout

    def fab(self, *words: str) -> str:
        """All that a verb says that succeeds."""
        ran = self._ran(0, words)
        return ran.stdout + ran.stderr

    def refused(self, *words: str) -> str:
        """What a verb says that isn't done, or finds that something is wrong."""
        ran = self._ran(1, words)
        return ran.stdout + ran.stderr

    def _ran(self, code: int, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        ran = fab(self.file, *words)
        assert ran.returncode == code, f"fab {' '.join(words)}: {ran.stdout}{ran.stderr}"
        return ran

    def interrupted(self, line: str, *words: str) -> str:
        """Ctrl-C as soon as a verb has said a line that begins so; what it says after that."""
        with subprocess.Popen(
            [str(FAB), *words],
            cwd=PROJECT_ROOT,
            env={**os.environ, CLUSTER_VARIABLE: str(self.file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As a shell leaves it; in the background of one it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as running:
            assert running.stdout is not None
            assert any(said.startswith(line) for said in running.stdout)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        assert running.returncode == 130, out + err
        return out + err

    def lists(self, node_id: str) -> None:
        """Write a node's line into the cluster file."""
        text = self.file.read_text()
        self.file.write_text(text.replace("uploads:", f"  {node_id}: {{}}\nuploads:", 1))

    def strikes(self, node_id: str) -> None:
        """Take its line out."""
        text = self.file.read_text()
        assert text.count(f"  {node_id}: {{}}\n") == 1
        self.file.write_text(text.replace(f"  {node_id}: {{}}\n", ""))

    def storage(self) -> list[str]:
        """The storage nodes, as the file has them now."""
        return list(load(self.file).with_role("storage"))

    def hosts(self) -> list[str]:
        """Their names in URLs."""
        cluster = load(self.file)
        return [cluster.host(node_id) for node_id in cluster.with_role("storage")]

    def authority(self) -> Path:
        """The CA that signed the nodes' certificates."""
        return Keystore.for_cluster(load(self.file), PROJECT_ROOT).ca_certificate()

    def trust(self) -> ssl.SSLContext:
        """Of who trusts it."""
        return ssl.create_default_context(cafile=str(self.authority()))

    def disks(self) -> Mapping[str, Host]:
        """Each storage node over SSH, with root's rights."""
        return {node_id: logged_in(node_id) for node_id in self.storage()}


def logged_in(node_id: str) -> Host:
    """A machine over SSH, with root's rights."""
    return testinfra.get_host(f"ssh://{node_id}", sudo=True, ssh_config=str(SSH_CONFIG))


def lose(node_id: str) -> None:
    """Destroy a machine with all that is on its disks."""
    containers.remove(_machine(node_id))


def another_machine(node_id: str) -> None:
    """A bare one in the place of one that was lost, under its name and address."""
    subprocess.run(
        [sys.executable, "-m", "lab", "--machines", str(MACHINES), "up"],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
    )
    wait_for("it lets in", 120, lambda: logged_in(node_id).run("true").rc == 0 or None)


def _machine(node_id: str) -> machines.Machine:
    [found] = [each for each in machines.load(MACHINES).machines if each.name == node_id]
    return found
