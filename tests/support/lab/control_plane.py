"""The lab's control plane as an app and an operator talk to it, and what is really on the nodes."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator.keystore import Keystore
from portside.wire.control import FileUrl, FileView, NodeView, NodeViews, Session
from tests.support.lab.places import LAB
from tests.support.lab.requests import Answer

CONTROL = "c01"
TIMER = "portside-control-backup.timer"
SERVICES = ("portside-control.service", "portside-control-worker.service")
HEALTHY = dict.fromkeys(("s01", "s02", "s03"), ("active", True))

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The control plane as an app with every right knows it."""

    host: str
    trust: ssl.SSLContext
    key: str
    port: int = 443

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request with the app's key, one answer."""
        connection = http.client.HTTPSConnection(
            self.host, self.port, context=self.trust, timeout=30
        )
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**sent, **headers})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def session(self, **wanted: Any) -> Session:
        """A session for one file of the namespace `lab`."""
        wish = {"owner": "user-7", "namespace": "lab", **wanted}
        return Session.model_validate_json(self._done("POST", "/api/v1/upload/sessions", wish))

    def file(self, file_id: str) -> FileView:
        """A file as it is now."""
        return FileView.model_validate_json(self._done("GET", f"/api/v1/files/{file_id}"))

    def place(self, file_id: str) -> FileUrl:
        """Where a healthy copy is served from now."""
        path = f"/api/v1/files/{file_id}/url"
        return FileUrl.model_validate_json(self._done("GET", path, Accept="application/json"))

    def nodes(self) -> dict[str, NodeView]:
        """Every node by its id, as it is now."""
        views = NodeViews.model_validate_json(self._done("GET", "/api/v1/nodes"))
        return {each.node_id: each for each in views.nodes}

    def states(self) -> dict[str, tuple[str, bool]]:
        """State and health of each node."""
        return {each.node_id: (each.state, each.healthy) for each in self.nodes().values()}

    def wait_until_healthy(self, seconds: float = 120) -> None:
        """Return once every node is active and takes new files."""
        until = time.monotonic() + seconds
        while self.states() != HEALTHY:
            assert time.monotonic() < until, [(e, n.reasons) for e, n in self.nodes().items()]
            time.sleep(0.5)

    def set_state(self, node_id: str, state: str) -> None:
        """What an operator wants of a node."""
        self._done("POST", f"/api/v1/nodes/{node_id}/state", {"state": state})

    def delete(self, file_id: str) -> None:
        """Delete a file everywhere."""
        self._done("DELETE", f"/api/v1/files/{file_id}")

    def portside(self, *arguments: str) -> str:
        """What `portside` shows to a user who is logged in with the app's key."""
        keystore = Keystore.for_cluster(load(LAB), PROJECT_ROOT)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("portside")), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PORTSIDE_URL": f"https://{self.host}",
                "PORTSIDE_API_KEY": self.key,
                "PORTSIDE_CA": str(keystore.ca_certificate()),
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _done(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        answer = self.ask(method, path, body, **headers)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        return answer.body


def portside(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The operator's command with the lab's cluster file."""
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("portside")), *arguments),
            *("--cluster", str(LAB)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT_ROOT,
    )


def holders(nodes: Mapping[str, Host], path: object) -> frozenset[str]:
    """The nodes on whose disk a file is, asked of the disks and not of the control plane."""
    return holders_of(nodes, [path])[0]


def holders_of(nodes: Mapping[str, Host], paths: Sequence[object]) -> list[frozenset[str]]:
    """As `holders`, for each of many files: one look at each disk."""
    storage = {node_id: host for node_id, host in nodes.items() if node_id != CONTROL}
    look = "find /srv/portside/uploads -type f -printf '%P\\0'"
    with ThreadPoolExecutor() as pool:
        shown = pool.map(lambda host: str(host.check_output(look)), storage.values())
        held = {
            node_id: set(names.split("\0")) for node_id, names in zip(storage, shown, strict=True)
        }
    return [
        frozenset(node_id for node_id, names in held.items() if str(path) in names)
        for path in paths
    ]


def digest_on_disk(host: Host, path: object) -> str:
    """The SHA-256 of a file as it lies on a node's disk."""
    where = shlex.quote(f"/srv/portside/uploads/{path}")
    return str(host.check_output(f"sha256sum < {where}").split()[0])


def wait_for(what: str, seconds: float, look: Callable[[], _Found | None]) -> _Found:
    """The first thing that `look` finds. Raises AssertionError after that many seconds."""
    until = time.monotonic() + seconds
    while True:
        if (found := look()) is not None:
            return found
        assert time.monotonic() < until, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.5)


def wait_until_safe(control: ControlPlane, file_id: str, seconds: float = 180) -> FileView:
    """The file once enough nodes hold it."""

    def look() -> FileView | None:
        view = control.file(file_id)
        return view if view.state == "safe" else None

    return wait_for(f"{file_id} is safe", seconds, look)


@dataclass(slots=True)
class CopyCount:
    """How many nodes served each file, asked of the nodes again and again."""

    samples: int = 0
    by_count: Counter[int] = field(default_factory=Counter)
    fewest: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, count: int) -> None:
        """One look at one file."""
        self.samples += 1
        self.by_count[count] += 1
        self.fewest[path] = min(count, self.fewest.get(path, count))

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count} copies: {times}" for count, times in sorted(self.by_count.items())
        )
        return f"{self.samples} samples of {len(self.fewest)} files ({counts})"


@contextmanager
def counting_copies(
    hosts: Sequence[str], trust: ssl.SSLContext, paths: Sequence[str]
) -> Iterator[CopyCount]:
    """Ask every node for every file, over and over, until the block ends."""
    counted, stopping = CopyCount(), threading.Event()
    failed: list[BaseException] = []

    def count() -> None:
        try:
            while not stopping.wait(0.2):
                for path in paths:
                    counted.add(path, sum(serves(host, trust, path) for host in hosts))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counted
    finally:
        stopping.set()
        thread.join()
    if failed:
        raise failed[0]


def serves(host: str, trust: ssl.SSLContext, path: str) -> bool:
    """Whether a node serves a public file now."""
    connection = http.client.HTTPSConnection(host, context=trust, timeout=10)
    try:
        connection.request("HEAD", f"/uploads/{path}")
        return connection.getresponse().status == 200
    finally:
        connection.close()
