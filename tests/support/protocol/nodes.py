"""Agents whose answers lead back to them, alone and behind nginx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.operator import certificates
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.agent.process import NODE_ID, Agent
from tests.support.cluster_files import CLUSTER

HOST = "localhost"


class HomingAgent(Agent):
    """An agent that names itself, not its node's host, in the URLs it gives out."""

    def _write_files(self, settings: Mapping[str, Any] | None) -> None:
        super()._write_files({"public_base_url": self.url, **(settings or {})})


@dataclass(frozen=True, slots=True)
class Node:
    """nginx as a node has it, over TLS, and the agent behind it on a unix socket."""

    url: str
    agent: Agent
    ca: Path

    @property
    def uploads(self) -> str:
        """Where resumable uploads are created."""
        return f"{self.url}/api/v1/uploads"


@contextmanager
def node_behind_nginx(
    home: Path,
    agent_home: Path,
    cluster: str = CLUSTER,
    port: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Node, nginx_process.Nginx]]:
    """A running node as `cluster` has it.

    Its URLs name `port`, at which something in front of nginx listens, or nginx' own. `settings`
    are the agent's.
    """
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    storage = StorageNode(NODE_ID, parse(cluster), found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(storage), home)
    ca = _certificate_for_this_computer(home)
    nginx = nginx_process.Nginx(path)
    url = f"https://{HOST}:{port or nginx.https_port}"
    agent = Agent(
        agent_home,
        root=home / "data",
        settings={"public_base_url": url, **(settings or {})},
        socket_path=home / "agent.sock",
    )
    try:
        agent.start()
        yield Node(url, agent, ca), nginx
    finally:
        agent.kill()
        nginx.stop()


def _certificate_for_this_computer(home: Path) -> Path:
    """Clients nobody here wrote check certificates: one they accept, and the CA to accept it by."""
    ca = certificates.make_ca("test")
    pair = certificates.issue(ca, HOST)
    (home / "node.pem").write_bytes(pair.certificate_pem + pair.key_pem)
    (home / "ca.crt").write_bytes(ca.certificate_pem)
    return home / "ca.crt"
