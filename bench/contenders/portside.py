"""Portside's own storage node, from the templates that the deploys use.

gunicorn's settings, the agent's settings and nginx's locations are rendered as for a node, with
paths below the bench's folder; only TLS is left out, as for everyone. The token is what an issuer
would mint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from bench import nginx
from bench.contenders import Ground, Service
from bench.http_client import Answer, Request
from bench.processes import accepts, running
from bench.source import sha256_of
from deploys.components.rendering import render
from deploys.layout import MARKER
from portside.cluster import Cluster
from portside.content import SCRIPT_EXTENSIONS
from portside.sizing import Sizing
from portside.tokens import Keyset, SigningKey, mint_upload
from portside.wire import PROBLEM_PREFIX, StoredFile, UploadClaims

_NODE = "s01"
_ISSUER = "bench"
_UPLOAD = "/api/internal/upload"
_NAME = "upload.bin"
_BOUNDARY = "portside-bench-7MA4YWxkTrZu0gW"
_PROGRAMS = Path(sys.executable).parent
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


@dataclass(frozen=True)
class _Layout:
    """The names that templates know of deploys.layout, in the bench's folder."""

    AGENT_SOCKET: str
    KEYSET: str
    NODE_KEY: str


@dataclass(frozen=True)
class _Node:
    """A storage node as the templates see it."""

    cluster: Cluster
    root: Path
    sizing: Sizing
    node_id: str = _NODE

    @property
    def sizing_fields(self) -> dict[str, int]:
        return asdict(self.sizing)


class Portside:
    """See bench.contenders.Contender. `form`: as a multipart POST instead of a raw PUT."""

    promises = "SHA-256, fsync, receipt"

    def __init__(self, form: bool = False) -> None:
        self._form = form
        self.name = "ours-form" if form else "ours"

    def version(self, packages_directory: Path) -> str:
        """Ours and gunicorn's."""
        return f"portside {installed_version('portside')}, gunicorn {installed_version('gunicorn')}"

    @contextmanager
    def serving(self, ground: Ground) -> Iterator[Service]:
        """gunicorn with the agent behind nginx."""
        directory = ground.directory
        layout = _Layout(
            AGENT_SOCKET=str(ground.socket),
            KEYSET=str(directory / "keyset.json"),
            NODE_KEY=str(directory / "node.key"),
        )
        node = _Node(_cluster(directory / "data"), directory / "data", ground.sizing)
        issuer = SigningKey.generate(_ISSUER)
        environment = _prepare(directory, layout, node, issuer)
        gunicorn = [str(_PROGRAMS / "gunicorn"), "--config", str(directory / "gunicorn.conf.py")]
        with running("agent", [*gunicorn, "agent.wsgi:app"], directory, environment) as agent:
            agent.wait_until(accepts(ground.socket))
            upstreams = _UPSTREAMS.format(socket=layout.AGENT_SOCKET) + _include(
                "header_values", node, layout
            )
            locations = "".join(_include(name, node, layout) for name in _LOCATION_TEMPLATES)
            with nginx.front(directory, ground.sizing, locations, upstreams) as (server, port):
                size = ground.source.size
                yield _Service(port, server.pid, (agent.pid,), node, issuer, size, self._form)


def _cluster(root: Path) -> Cluster:
    return Cluster.model_validate(
        {
            "name": _ISSUER,
            "domain": "portside.test",
            "nodes": {_NODE: {}},
            "uploads": {"root": str(root)},
            "tls": {"mode": "lab"},
        }
    )


def _prepare(
    directory: Path, layout: _Layout, node: _Node, issuer: SigningKey
) -> Mapping[str, str]:
    """Lay out the node's files as the deploy does; the environment its programs need."""
    for folder in ("uploads", "staging", "quarantine", "state"):
        (node.root / folder).mkdir(parents=True)
    (node.root / MARKER).write_text(f"{_NODE}\n", encoding="utf-8")
    keyset = Keyset(keys=(issuer.public(),))
    Path(layout.KEYSET).write_text(keyset.model_dump_json(exclude_none=True), encoding="utf-8")
    settings = directory / "agent.toml"
    settings.write_text(render("agent/agent.toml.j2", node=node, layout=layout), encoding="utf-8")
    (directory / "gunicorn.conf.py").write_text(
        render("gunicorn/gunicorn.conf.py.j2", node=node, layout=layout), encoding="utf-8"
    )
    environment = {"PORTSIDE_AGENT_CONFIG": str(settings), "MALLOC_ARENA_MAX": "2"}
    subprocess.run(
        [_PROGRAMS / "portside-agent", "identity", "--create"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return environment


def _include(name: str, node: _Node, layout: _Layout) -> str:
    return render(
        f"nginx/{name}.conf.j2",
        layout=layout,
        root=node.root,
        sizing=node.sizing,
        origins=(),
        script_extensions=sorted(e.removeprefix(".") for e in SCRIPT_EXTENSIONS),
        problem_prefix=PROBLEM_PREFIX,
        # None is expected here; the location wants one to be complete.
        refusal_statuses=(503,),
    )


@dataclass
class _Service:
    port: int
    nginx: int
    backends: Sequence[int]
    node: _Node
    issuer: SigningKey
    size: int
    form: bool

    def next_upload(self) -> Request:
        headers = {"Authorization": f"Bearer {mint_upload(self.issuer, self._claims())}"}
        if not self.form:
            return Request("PUT", f"{_UPLOAD}/{_NAME}", headers)
        before, after = form_around(_NAME)
        headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        return Request("POST", _UPLOAD, headers, before, after)

    def _claims(self) -> UploadClaims:
        now = int(time.time())
        return UploadClaims(
            iss=_ISSUER,
            aud=_NODE,
            sub="bench",
            jti=uuid.uuid4().hex,
            iat=now,
            nbf=now,
            exp=now + 600,
            session_deadline=now + 7200,
            file_id=uuid.uuid4().hex,
            namespace="bench",
            size=self.size,
        )

    def stored_sha256(self, answer: Answer) -> str:
        file = StoredFile.model_validate_json(answer.body)
        digest = sha256_of(self.node.root / "uploads" / file.path)
        if digest != file.sha256:
            return f"{digest} on disk, {file.sha256} in the answer"
        return digest

    def clear(self) -> None:
        for path in (self.node.root / "uploads").rglob("*"):
            if path.is_file():
                path.unlink()


def form_around(name: str) -> tuple[bytes, bytes]:
    """What stands before and after the file in a form (RFC 7578)."""
    before = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return before.encode("ascii"), f"\r\n--{_BOUNDARY}--\r\n".encode("ascii")
