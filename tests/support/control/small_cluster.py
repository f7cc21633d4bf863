"""A whole cluster on this computer: a control plane and two storage nodes, nothing of it a double.

Each node is nginx with a node's configuration over TLS, gunicorn with the agent, and its worker.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.operator import certificates
from portside.operator.certificates import Pair
from portside.quantities import GIB
from portside.wire.heartbeat import Roster, RosterNode
from tests.support import nginx_process
from tests.support.agent.process import Agent
from tests.support.agent.worker_process import Worker
from tests.support.cluster_files import CLUSTER
from tests.support.control.process import PATIENCE, ControlPlane
from tests.support.logs import text_of
from tests.support.loopback import reserved_port
from tests.support.nginx_process import Nginx

EVERY = 0.3
"""Seconds between two heartbeats: what a file waits for shouldn't be waited for here."""

_HOST = "localhost"


class StorageProcesses:
    """One storage node with everything that runs on it, reached at `url`."""

    def __init__(self, home: Path, node_id: str, ca: Pair) -> None:
        home.mkdir()
        machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
        found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
        cluster = parse(f"{CLUSTER}uploads: {{private: [private]}}\n")
        storage = StorageNode(node_id, cluster, found, sizing.size(machine), "root")
        self.node_id = node_id
        configured = nginx_process.write(configuration(storage), home)
        pair = certificates.issue(ca, _HOST)
        (home / "node.pem").write_bytes(pair.certificate_pem + pair.key_pem)
        (home / "ca.crt").write_bytes(ca.certificate_pem)
        self._nginx: Nginx | None = Nginx(configured)
        self.url = f"https://{_HOST}:{self._nginx.https_port}"
        self.agent = Agent(
            home,
            root=home / "data",
            settings={
                "public_base_url": self.url,
                "ca": str(home / "ca.crt"),
                "heartbeat_every": EVERY,
            },
            # Where the configuration looks for it.
            socket_path=home / "agent.sock",
            node_id=node_id,
        )
        self.worker = Worker(self.agent)

    @property
    def member(self) -> RosterNode:
        """The node as others know it."""
        return RosterNode(
            node_id=self.node_id,
            public_base_url=self.url,
            upload_api_url=f"{self.url}/api/internal/upload",
            key=self.agent.node_keys.keys[0],
        )

    def start(self) -> None:
        """Start agent and worker; nginx runs already."""
        self.agent.start()
        self.worker.start()

    def cut_off(self) -> None:
        """Nobody reaches the node any more, though it still reports."""
        if self._nginx is not None:
            self._nginx.stop()
            self._nginx = None

    def end(self) -> None:
        """End everything of it."""
        self.worker.kill()
        self.agent.kill()
        self.cut_off()


def contents_of(node: StorageProcesses) -> list[bytes]:
    """What the files of a node have in them."""
    found = []
    for path in node.agent.visible_files():
        # One that is being deleted may be gone by now.
        with suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


class SmallCluster:
    """The nodes `s01` and `s02` and their control plane. Two copies are wanted of each file."""

    def __init__(self, home: Path, database_url: str, **changed: Any) -> None:
        """`changed` settings of the control plane's."""
        self.database = Path(database_url.removeprefix("sqlite:///"))
        ca = certificates.make_ca("test")
        self.ca = home / "ca.crt"
        self.ca.write_bytes(ca.certificate_pem)
        self.nodes = {
            node_id: StorageProcesses(home / node_id, node_id, ca) for node_id in ("s01", "s02")
        }
        (home / "control").mkdir()
        self._port = reserved_port(self)
        self.url = f"http://127.0.0.1:{self._port}"
        self.control = ControlPlane(
            home / "control",
            database_url,
            control_url=self.url,
            heartbeat_every=EVERY,
            ca=str(self.ca),
            **changed,
        )

    def start(self) -> None:
        """Start everything, and make everybody known to everybody."""
        members = tuple(node.member for node in self.nodes.values())
        roster = Roster(version=int(time.time()), cluster="lab", factor=2, nodes=members)
        self._write(self.control.home, roster)
        keyset = (self.control.home / "keyset.json").read_text()
        for node in self.nodes.values():
            (node.agent.home / "keyset.json").write_text(keyset)
        known = roster.model_copy(update={"control_url": self.url})
        for node in self.nodes.values():
            self._write(node.agent.home, known)
        with ThreadPoolExecutor() as threads:
            web = threads.submit(self.control.start_web, port=self._port)
            started = [threads.submit(node.start) for node in self.nodes.values()]
            self.control.start_worker()
            web.result()
            for each in started:
                each.result()

    def stop_control(self) -> None:
        """End the control plane as a power cut does."""
        self.control.end()

    def start_control(self) -> None:
        """Start it anew, where it was."""
        self.control.start_web(port=self._port)
        self.control.start_worker()

    def put_database(self, file: Path) -> None:
        """Have another file be the control plane's database."""
        for suffix in ("-wal", "-shm"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(file, self.database)

    def contents(self) -> list[list[bytes]]:
        """What files each node has."""
        return [contents_of(node) for node in self.nodes.values()]

    def _write(self, home: Path, roster: Roster) -> None:
        (home / "roster.json").write_text(roster.model_dump_json(exclude_none=True))

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so; if it never is, every log is shown."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(self.logs())
            time.sleep(0.1)

    def logs(self) -> str:
        """The ends of everybody's logs."""
        homes = [self.control.home, *(node.agent.home for node in self.nodes.values())]
        paths = [path for home in homes for path in sorted(home.glob("*.log"))]
        return "\n".join(f"== {path}\n{text_of(path)[-3000:]}" for path in paths)

    def end(self) -> None:
        """End every process."""
        for node in self.nodes.values():
            node.end()
        self.control.end()
