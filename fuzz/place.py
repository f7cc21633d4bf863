"""What is asked: nginx as one machine has it that is node and control plane, and both behind it.

nginx listens without TLS beside what it has, for what is tested begins behind that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from control.cluster import api_keys
from control.db.database import Database
from control.db.migrations import migrate
from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.agent.process import NODE_ID, Agent
from tests.support.control.cluster import take_over
from tests.support.control.process import ControlPlane
from tests.support.loopback import reserved_port
from tests.support.nginx_process import Nginx

HOST = "s01.portside.test"

# Limits on rates are for others to test: here one address sends everything.
_CLUSTER = """
name: test
domain: portside.test
nodes: {s01: {roles: [storage, control]}, s02: {}}
cors: {origins: ['https://app.portside.test']}
uploads: {private: [private]}
limits: {uploads_per_owner: 100000, requests_per_address: 1000000,
  control_requests_per_address: 1000000}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that runs, with keys to all of it."""

    home: Path
    node_port: int
    control_port: int
    agent: Agent
    control: ControlPlane
    app_key: str
    admin_key: str

    @property
    def logs(self) -> tuple[Path, ...]:
        """Every log that a request may come into."""
        return self.home / "access.log", self.agent.log, self.control.log


@contextmanager
def running(home: Path, database_url: str = "") -> Iterator[Place]:
    """Start everything below `home`; it ends with the block. The database is empty or not there."""
    (home / "agent").mkdir()
    (home / "control").mkdir()
    database_url = database_url or f"sqlite:///{home / 'control.db'}"
    control = ControlPlane(home / "control", database_url)
    keys = _prepared(control, database_url)
    port = reserved_port(control)
    # Before the agent: it makes the folders of a node's data.
    nginx, (node_port, control_port) = _nginx(home, port)
    agent = Agent(
        home / "agent",
        root=home / "data",
        settings={"uploads_per_minute": 100_000},
        socket_path=home / "agent.sock",
    )
    # The node's peers may send it copies: one of them is stolen.
    (home / "agent" / "roster.json").write_text((home / "control" / "roster.json").read_text())
    try:
        control.start_web(port=port)
        agent.start()
        yield Place(home, node_port, control_port, agent, control, *keys)
    finally:
        agent.kill()
        control.end()
        nginx.stop()


def _prepared(control: ControlPlane, database_url: str) -> tuple[str, str]:
    """The keys of an app and of an operator, in a database that knows the nodes."""
    now = datetime.now(UTC)
    with closing(Database(database_url)) as database:
        migrate(database)
        take_over(database, control.nodes.roster(), now)

        def made(name: str, *scopes: api_keys.Scope) -> str:
            return database.write(lambda session: api_keys.create(session, name, scopes, now))

        return made("shop", "upload", "read", "delete"), made("operator", "admin", "read")


def _nginx(home: Path, control_port: int) -> tuple[Nginx, list[int]]:
    """nginx, and the ports at which it is the node and the control plane without TLS."""
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    storage = StorageNode(NODE_ID, parse(_CLUSTER), found, sizing.size(machine), "root")
    text = configuration(storage)
    path = nginx_process.write(text, home)
    ports = []

    def with_plain(listen: re.Match[str]) -> str:
        ports.append(reserved_port())
        return f"{listen[0]}\n        listen 127.0.0.1:{ports[-1]};"

    moved = re.sub(r"listen 127\.0\.0\.1:\d+ ssl [^;]*;", with_plain, path.read_text())
    moved = moved.replace(f"unix:{home}/control.sock", f"127.0.0.1:{control_port}")
    path.write_text(moved)
    return Nginx(path), ports
