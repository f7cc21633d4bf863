"""A real agent for tests: gunicorn on loopback over a folder that is a storage node's root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import requests

from portside.content import DEFAULT_EXTENSIONS
from portside.names import ATTRIBUTES_SUFFIX
from portside.quantities import GIB, MIB
from portside.sizing import Machine, Sizing, size
from portside.tokens import SigningKey, mint_upload
from portside.wire.claims import UploadClaims
from portside.wire.keys import Keyset
from portside.wire.problem import PROBLEM_PREFIX
from tests.support import fork_server
from tests.support.fork_server import Program
from tests.support.logs import text_of
from tests.support.loopback import reserved_port, wait_until
from tests.support.minting import upload_claims

NODE_ID = "s01"
START_SECONDS = 120

COMMAND = ("-c", "from agent.commands.cli import main; main()")

SMALL_NODE = replace(size(Machine(ram=512 * MIB, cores=1, disk=8 * GIB)), disk_kept_free=1 * MIB)


ISSUER = SigningKey.generate("lab")
"""The cluster's: every node trusts it."""


class Agent:
    """One agent process and what surrounds it: its root, its keys, an issuer of tokens."""

    def __init__(
        self,
        home: Path,
        root: Path | None = None,
        sizing: Sizing = SMALL_NODE,
        settings: Mapping[str, Any] | None = None,
        socket_path: Path | None = None,
        node_id: str = NODE_ID,
        anew: bool = False,
    ) -> None:
        """`anew`: its processes are started as on a node, none is forked."""
        self.home = home
        self.anew = anew
        self.socket_path = socket_path or self._short_path()
        self.root = root or home / "root"
        self.node_id = node_id
        self.issuer = ISSUER
        self.sizing = sizing
        self.port = reserved_port(self)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "agent.log"
        self._process: Program | None = None
        self._write_files(settings)

    def _short_path(self) -> Path:
        """Where a socket may lie: its path has at most 107 bytes (unix(7)), a test's has more."""
        folder = tempfile.mkdtemp(prefix="portside-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder) / "agent.sock"

    def _write_files(self, settings: Mapping[str, Any] | None) -> None:
        for folder in ("uploads", "staging", "quarantine", "ended", "state"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / ".portside-root").write_text(f"{self.node_id}\n")
        self.node_key = node_key = SigningKey.generate(self.node_id)
        self.node_keys = Keyset(keys=(node_key.public(),))
        (self.home / "node.key").write_text(node_key.to_json())
        keyset = Keyset(keys=(self.issuer.public(),))
        (self.home / "keyset.json").write_text(keyset.model_dump_json())
        lines = {
            "node_id": self.node_id,
            "public_base_url": f"https://{self.node_id}.portside.test",
            "root": str(self.root),
            "keyset": str(self.home / "keyset.json"),
            "node_key": str(self.home / "node.key"),
            "roster": str(self.home / "roster.json"),
            "max_size": 64 * GIB,
            "extensions": list(DEFAULT_EXTENSIONS),
            "private": ["private"],
            "uploads_per_minute": 6000,
            # One owner's tests fill a node.
            "slots_per_token": 1000,
            "slots_per_owner": 1,
            "slots_per_address": 1,
            "scrub_rate": 1 * GIB,
            "scrub_every": 30 * 86400,
            "agent_socket": str(self.socket_path),
            **(settings or {}),
        }
        toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        toml += "[sizing]\n" + "".join(f"{k} = {v}\n" for k, v in asdict(self.sizing).items())
        (self.home / "agent.toml").write_text(toml)

    def start(self, timeout: int = 30, under: Sequence[str] = ()) -> None:
        """Start gunicorn, `under` another command if given, and wait until it answers."""
        self.launch(timeout, under)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the agent ended:\n{text_of(self.log)}"
            try:
                if requests.get(f"{self.url}/health/live", timeout=5).status_code == 204:
                    return
            except (requests.ConnectionError, requests.Timeout):
                # gunicorn listens before its worker can answer.
                time.sleep(0.05)
        raise AssertionError(f"the agent doesn't answer:\n{text_of(self.log)}")

    def launch(self, timeout: int = 30, under: Sequence[str] = ()) -> None:
        """Start gunicorn without waiting."""
        arguments = [
            *("-m", "gunicorn", "agent.wsgi:app"),
            *("--worker-class", "gthread", "--workers", "1"),
            *("--threads", str(self.sizing.gunicorn_threads)),
            *("--timeout", str(timeout), "--graceful-timeout", "60", "--keep-alive", "65"),
            *("--bind", f"127.0.0.1:{self.port}", "--bind", f"unix:{self.socket_path}"),
            # As templates/gunicorn has them.
            *("--limit-request-line", "8190", "--limit-request-fields", "8320"),
            *("--limit-request-field_size", "8320"),
            "--no-control-socket",
        ]
        environment = {**os.environ, "PORTSIDE_AGENT_CONFIG": str(self.home / "agent.toml")}
        with self.log.open("ab") as log:
            self._process = fork_server.start(
                "agent", arguments, environment, log, under, anew=self.anew
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `portside-agent` on this root."""
        settings = ("--config", str(self.home / "agent.toml"))
        if self.anew:
            program = str(Path(sys.executable).with_name("portside-agent"))
            return subprocess.run(
                [program, *arguments, *settings], capture_output=True, text=True, check=False
            )
        return fork_server.run("agent", [*COMMAND, *arguments, *settings], os.environ)

    @property
    def process(self) -> Program:
        """The process that was started."""
        assert self._process is not None
        return self._process

    def worker_pid(self) -> int:
        """gunicorn's one worker."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return int(children[-1])

    def kill(self) -> None:
        """End every process of the agent at once, as a crash would."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=60)
            self._process = None

    def mint(self, key: SigningKey | None = None, **changed: Any) -> str:
        """An upload token for this node with some of its claims changed."""
        return mint_upload(key or self.issuer, self.claims(**changed))

    def claims(self, **changed: Any) -> UploadClaims:
        """Claims that allow 1 GiB into the namespace `isos`, valid for 15 minutes."""
        return upload_claims("lab", self.node_id, {"namespace": "isos", **changed})

    def put(
        self,
        name: str,
        data: Any,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """PUT a raw body; a token is minted unless one is given."""
        sent = {"Authorization": f"Bearer {token or self.mint()}", **(headers or {})}
        return requests.put(
            f"{self.url}/api/internal/upload/{name}", data=data, headers=sent, timeout=60
        )

    def post(self, name: str, data: bytes, token: str | None = None) -> requests.Response:
        """POST a multipart form with the file in its part `file`."""
        return requests.post(
            f"{self.url}/api/internal/upload",
            files={"file": (name, data)},
            headers={"Authorization": f"Bearer {token or self.mint()}"},
            timeout=60,
        )

    def open_put(self, name: str, length: int, token: str | None = None) -> socket.socket:
        """A connection on which a PUT's headers are sent and its body isn't."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        head = (
            f"PUT /api/internal/upload/{name} HTTP/1.1\r\nHost: agent\r\n"
            f"Authorization: Bearer {token or self.mint()}\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(head.encode())
        return connection

    def status(self) -> dict[str, Any]:
        """The answer of upload-status."""
        response = requests.get(f"{self.url}/api/v1/system/upload-status", timeout=60)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait_for_uploads(self, count: int) -> None:
        """Wait until this many uploads are running."""
        wait_until(lambda: self.status()["slots"]["used"] == count)

    def visible_files(self) -> list[Path]:
        """Everything nginx could serve, attributes left out."""
        return sorted(
            path
            for path in (self.root / "uploads").rglob("*")
            if path.is_file() and not path.name.endswith(".attr.json")
        )

    def leftovers(self) -> list[str]:
        """What lies in staging, and attributes without their file."""
        found = [path.name for path in (self.root / "staging").iterdir()]
        for _, _, names in os.walk(self.root / "uploads"):
            there = set(names)
            found += [
                name
                for name in names
                if name.endswith(ATTRIBUTES_SUFFIX)
                and name.removesuffix(ATTRIBUTES_SUFFIX) not in there
            ]
        return sorted(found)


def slug_of(response: requests.Response) -> str:
    """The problem's slug, after checking that the answer is a proper problem document."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    assert document["detail"]
    return str(document["type"].removeprefix(PROBLEM_PREFIX))


def first_line(connection: socket.socket) -> bytes:
    """The first line of the answer on a connection, however it comes."""
    with connection.makefile("rb") as answer:
        return answer.readline()
