"""Two nodes of ours behind nginx with TLS, on loopback, and the worker that sends copies."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench import nginx, processes
from bench.contenders.portside import (
    PROGRAMS,
    Agent,
    front_parts,
    places_in,
    prepare,
    storage_node,
)
from bench.http_client import UploadFailed
from bench.processes import accepts
from bench.source import Source
from deploys.hosts.node import StorageNode
from deploys.operations.rendering import render
from portside.operator import certificates
from portside.sizing import Sizing
from portside.tokens import SigningKey, mint_access, mint_upload
from portside.wire import paths
from portside.wire.claims import AccessClaims, UploadClaims
from portside.wire.files import StoredFile
from portside.wire.heartbeat import Roster, RosterNode

_HOST = "localhost"
_NODES = ("s01", "s02")
_ISSUER = "bench"
_PATIENCE = 600.0
_LOOK_EVERY = 0.01


@dataclass(frozen=True, slots=True)
class Copied:
    """One file in two places: seconds from the upload's answer to the other node's receipt, and of
    the push alone, as the worker's log has it."""

    stored: StoredFile
    since_commit: float
    push: float


@dataclass(frozen=True, slots=True)
class NodePair:
    """Files come to the first node, copies to the second."""

    urls: tuple[str, ...]
    roots: tuple[Path, ...]
    issuer: SigningKey
    ca: Path
    log: Path

    def copy(self, file: Source) -> Copied:
        """Upload the file and wait for its copy. Raises UploadFailed."""
        with file.path.open("rb") as body:
            answer = requests.put(
                f"{self.urls[0]}{paths.UPLOAD}/{_claims(0).name}",
                data=body,
                headers={"Authorization": f"Bearer {mint_upload(self.issuer, _claims(file.size))}"},
                verify=str(self.ca),
                timeout=_PATIENCE,
            )
        committed = time.monotonic()
        if answer.status_code != 201:
            raise UploadFailed(f"the first node answered {answer.status_code}: {answer.text}")
        stored = StoredFile.model_validate_json(answer.content)
        session = requests.Session()
        while time.monotonic() < committed + _PATIENCE:
            url = f"{self.urls[0]}{paths.FILES}/{stored.file_id}"
            if session.get(url, verify=str(self.ca), timeout=60).json()["copies"]:
                return Copied(stored, time.monotonic() - committed, self._push(stored.file_id))
            time.sleep(_LOOK_EVERY)
        raise UploadFailed(f"no copy within {_PATIENCE:.0f} s: {self.log.read_text()[-2000:]}")

    def path_of(self, stored: StoredFile) -> Path:
        """Where the copy is."""
        return self.roots[1] / "uploads" / stored.path

    def remove(self, stored: StoredFile) -> None:
        """Delete the file on both nodes."""
        for url, node_id in zip(self.urls, _NODES, strict=True):
            now = int(time.time())
            claims = AccessClaims(
                iss=_ISSUER,
                aud=node_id,
                sub="bench",
                iat=now,
                nbf=now,
                exp=now + 600,
                rights=("delete",),
            )
            requests.delete(
                f"{url}{paths.FILES}/{stored.file_id}",
                headers={"Authorization": f"Bearer {mint_access(self.issuer, claims)}"},
                verify=str(self.ca),
                timeout=_PATIENCE,
            ).raise_for_status()

    def _push(self, file_id: str) -> float:
        """The seconds of the push by the worker's own log."""
        for line in self.log.read_text(encoding="utf-8").splitlines():
            if '"event": "pushed"' in line and file_id in line:
                return float(line.partition('"seconds": ')[2].partition(",")[0].rstrip("}"))
        raise UploadFailed("the worker's log doesn't tell of the push")


@contextmanager
def serving(directory: Path, sockets: Path, sizing: Sizing) -> Iterator[NodePair]:
    """Both nodes and the first one's worker, until the context ends. Raises ServerFailed."""
    issuer, ca = SigningKey.generate(_ISSUER), certificates.make_ca(_ISSUER)
    with ExitStack() as stack:
        nodes: list[StorageNode] = []
        layouts: list[Any] = []
        ports: list[int] = []
        environments = []
        for node_id in _NODES:
            folder = directory / node_id
            folder.mkdir()
            node = storage_node(folder / "data", sizing, node_id)
            places = places_in(folder, sockets / node_id)
            pair = certificates.issue(ca, _HOST)
            Path(places.TLS).mkdir()
            Path(places.TLS_PAIR).write_bytes(pair.certificate_pem + pair.key_pem)
            Path(places.CA_CERTIFICATE).write_bytes(ca.certificate_pem)
            environments.append(prepare(folder, places, node, issuer))
            agent = Agent(folder, environments[-1])
            stack.callback(agent.server.end)
            agent.server.wait_until(accepts(sockets / node_id))
            around, locations = front_parts(node, places)
            tls = render("nginx/tls.conf.j2", layout=places)
            front = nginx.front(folder, sizing, tls + locations, around, tls=True)
            ports.append(stack.enter_context(front)[1])
            nodes.append(node)
            layouts.append(places)
        urls = tuple(f"https://{_HOST}:{port}" for port in ports)
        _introduce(layouts, urls)
        worker = processes.start(
            "worker", [PROGRAMS / "portside-agent", "worker"], directory / "s01", environments[0]
        )
        stack.callback(worker.end)
        yield NodePair(
            urls,
            tuple(Path(node.root) for node in nodes),
            issuer,
            Path(layouts[0].CA_CERTIFICATE),
            directory / "s01" / "worker.log",
        )


def _introduce(layouts: list[Any], urls: tuple[str, ...]) -> None:
    """Give both nodes a roster of both."""
    keys = [SigningKey.from_json(Path(places.NODE_KEY).read_text()) for places in layouts]
    roster = Roster(
        version=1,
        cluster=_ISSUER,
        nodes=tuple(
            RosterNode(
                node_id=key.owner,
                public_base_url=url,
                upload_api_url=f"{url}{paths.UPLOAD}",
                key=key.public(),
            )
            for key, url in zip(keys, urls, strict=True)
        ),
    )
    for places in layouts:
        Path(places.ROSTER).write_text(roster.model_dump_json(), encoding="utf-8")


def _claims(size: int) -> UploadClaims:
    now = int(time.time())
    return UploadClaims(
        iss=_ISSUER,
        aud=_NODES[0],
        sub="bench",
        jti=secrets.token_hex(16),
        iat=now,
        nbf=now,
        exp=now + 600,
        session_deadline=now + 7200,
        file_id=secrets.token_hex(16),
        namespace="bench",
        size=size,
        name="copied.bin",
        replicas=(_NODES[1],),
    )


def missing_programs(names: tuple[str, ...]) -> list[str]:
    """Those of these programs that this machine lacks."""
    return [name for name in names if shutil.which(name, path="/usr/sbin:/usr/bin:/bin") is None]
