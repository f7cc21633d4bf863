"""Portside's own storage node, from the templates that the deploys use.

gunicorn's settings, the agent's settings and nginx's locations are rendered as for a node, with
paths below the bench's folder; only TLS and the limit of requests per address are left out. The
token is what an issuer would mint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, Literal

from bench import nginx, processes, tus_client
from bench.contenders import Ground
from bench.http_client import Answer, Request
from bench.places import NODE
from bench.processes import Server, accepts
from bench.source import sha256_of
from bench.tus_client import Place
from deploys import layout
from deploys.components.nginx import context
from deploys.hosts.facts import NodeFacts
from deploys.hosts.node import StorageNode
from deploys.operations.rendering import render
from portside.cluster.file import Cluster
from portside.sizing import Sizing
from portside.tokens import SigningKey, mint_upload
from portside.wire import paths
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset

Way = Literal["put", "form", "tus"]
"""How a file comes in: as a raw body, as a form's part, as one append to a resumable upload."""


_NODE = "s01"
_ISSUER = "bench"
_NAME = "upload.bin"
_BOUNDARY = "portside-bench-7MA4YWxkTrZu0gW"
PROGRAMS = Path(sys.executable).parent
_NAMES: Mapping[Way, str] = {"put": "ours", "form": "ours-form", "tus": "ours-tus"}
_LOCATION_TEMPLATES = ("headers", "problems", "downloads", "api")
_UPSTREAMS = """\
    upstream agent {{
        server unix:{socket};
        keepalive 4;
        keepalive_timeout 60s;
    }}
    upstream agent_uploads {{
        server unix:{socket};
    }}
"""


class Portside:
    """See bench.contenders.Contender."""

    promises = "SHA-256, fsync, receipt"

    def __init__(self, way: Way = "put") -> None:
        self._way = way
        self.name = _NAMES[way]

    def version(self, packages_directory: Path) -> str:
        """Ours and gunicorn's."""
        return f"portside {installed_version('portside')}, gunicorn {installed_version('gunicorn')}"

    @contextmanager
    def serving(self, ground: Ground) -> Iterator[PortsideService]:
        """gunicorn with the agent behind nginx."""
        directory = ground.directory
        node = storage_node(directory / "data", ground.sizing)
        places = places_in(directory, ground.socket)
        issuer = SigningKey.generate(_ISSUER)
        environment = prepare(directory, places, node, issuer)
        upstreams, locations = front_parts(node, places)
        agent = Agent(directory, environment)
        try:
            agent.server.wait_until(accepts(ground.socket))
            with nginx.front(directory, ground.sizing, locations, upstreams) as (server, port):
                size = ground.source.size
                yield PortsideService(port, server.pid, agent, node, issuer, size, self._way)
        finally:
            agent.server.end()


class Agent:
    """gunicorn with the agent, which can be ended and started again."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self.server = self._launch()

    def restart(self, ready: Callable[[], bool]) -> float:
        """Start it again; the seconds until `ready()`. Raises ServerFailed."""
        began = time.monotonic()
        self.server = self._launch()
        self.server.wait_until(ready)
        return time.monotonic() - began

    def _launch(self) -> Server:
        settings = self._directory / "gunicorn.conf.py"
        command = [str(PROGRAMS / "gunicorn"), "--config", str(settings), "agent.wsgi:app"]
        return processes.start("agent", command, self._directory, self._environment)


def storage_node(root: Path, sizing: Sizing, node_id: str = _NODE) -> StorageNode:
    """A storage node as the templates see it."""
    cluster = Cluster.model_validate(
        {
            "name": _ISSUER,
            "domain": "portside.test",
            "nodes": {node_id: {}},
            "tls": {"mode": "lab"},
            # All of a bench's users come from one address.
            "limits": {"slots_per_address": 1, "requests_per_address": 100_000},
        }
    )
    # Without a check: a bench's node is no service, and may live where services see nothing.
    uploads = cluster.uploads.model_copy(update={"root": PurePosixPath(root)})
    cluster = cluster.model_copy(update={"uploads": uploads})
    found = NodeFacts(
        machine=NODE,
        container=False,
        ipv6=False,
        ssh_port=None,
        open_files=sizing.open_files,
        settable_sysctls=frozenset(),
        congestion_controls=frozenset(),
        device_present=True,
    )
    return StorageNode(node_id, cluster, found, sizing, "root")


def places_in(directory: Path, socket: Path) -> Any:
    """deploys.layout with a node's settings in the bench's own folder."""
    moved = {
        name: path.replace(layout.SETTINGS, str(directory), 1)
        for name, path in vars(layout).items()
        if isinstance(path, str) and path.startswith(layout.SETTINGS)
    }
    return SimpleNamespace(**{**vars(layout), **moved, "AGENT_SOCKET": str(socket)})


def front_parts(node: StorageNode, places: Any) -> tuple[str, str]:
    """What a node's nginx has around its servers, and in the one that takes uploads."""

    def part(name: str) -> str:
        return render(f"nginx/{name}.conf.j2", **context(node, places))

    upstreams = _UPSTREAMS.format(socket=places.AGENT_SOCKET) + "".join(
        part(name) for name in ("header_values", "rates", "validators")
    )
    return upstreams, "".join(part(name) for name in _LOCATION_TEMPLATES)


def prepare(
    directory: Path, places: Any, node: StorageNode, issuer: SigningKey
) -> Mapping[str, str]:
    """Lay out the node's files as the deploy does; the environment its programs need."""
    root = Path(node.root)
    for folder in ("uploads", "staging", "quarantine", "state"):
        (root / folder).mkdir(parents=True)
    (root / layout.MARKER).write_text(f"{node.node_id}\n", encoding="utf-8")
    keyset = Keyset(keys=(issuer.public(),))
    Path(places.KEYSET).write_text(keyset.model_dump_json(exclude_none=True), encoding="utf-8")
    settings = directory / "agent.toml"
    settings.write_text(render("agent/agent.toml.j2", node=node, layout=places), encoding="utf-8")
    (directory / "gunicorn.conf.py").write_text(
        render("gunicorn/gunicorn.conf.py.j2", node=node, layout=places), encoding="utf-8"
    )
    environment = {"PORTSIDE_AGENT_CONFIG": str(settings), "MALLOC_ARENA_MAX": "2"}
    subprocess.run(
        [PROGRAMS / "portside-agent", "identity", "--create"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return environment


@dataclass
class PortsideService:
    """See bench.contenders.Service. `issuer` is the key whose tokens the node takes."""

    port: int
    nginx: int
    agent: Agent
    node: StorageNode
    issuer: SigningKey
    size: int
    way: Way

    @property
    def backends(self) -> Sequence[int]:
        return (self.agent.server.pid,)

    def next_upload(self) -> Request:
        return self.request(self.way, self.size)

    def request(self, way: Way, size: int) -> Request:
        """An upload of `size` bytes; if it must be begun beforehand, that is done."""
        if way == "tus":
            return self.begin(size).append(0)
        headers = self.authorization(size)
        if way == "put":
            return Request("PUT", f"{paths.UPLOAD}/{_NAME}", headers)
        before, after = form_around(_NAME)
        headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        return Request("POST", paths.UPLOAD, headers, before, after)

    def begin(self, size: int) -> Place:
        """A resumable upload of `size` bytes."""
        return tus_client.create(self.port, paths.RESUMABLE_UPLOADS, size, self.authorization(size))

    def authorization(self, size: int) -> dict[str, str]:
        """The header with a new token for a file of `size` bytes; answers come as JSON."""
        token = mint_upload(self.issuer, _claims(size))
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def stored_sha256(self, answer: Answer) -> str:
        file = StoredFile.model_validate_json(answer.body)
        digest = sha256_of(Path(self.node.root) / "uploads" / file.path)
        if digest != file.sha256:
            return f"{digest} on disk, {file.sha256} in the answer"
        return digest

    def clear(self) -> None:
        for path in (Path(self.node.root) / "uploads").rglob("*"):
            if path.is_file():
                path.unlink()


def _claims(size: int) -> UploadClaims:
    now, jti = int(time.time()), uuid.uuid4().hex
    return UploadClaims(
        iss=_ISSUER,
        aud=_NODE,
        # Someone else's each time: how much one owner may upload is not what is measured.
        sub=f"user-{jti[:8]}",
        jti=jti,
        iat=now,
        nbf=now,
        exp=now + 600,
        session_deadline=now + 7200,
        file_id=uuid.uuid4().hex,
        namespace="bench",
        size=size,
        name=_NAME,
    )


def form_around(name: str) -> tuple[bytes, bytes]:
    """What stands before and after the file in a form (RFC 7578)."""
    before = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return before.encode("ascii"), f"\r\n--{_BOUNDARY}--\r\n".encode("ascii")
