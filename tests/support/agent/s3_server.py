"""A real S3 server (SeaweedFS) for tests, and a front before it that counts and disturbs."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bench import packages
from bench.places import BUILD
from bench.processes import Server, start
from tests.support.loopback import reserved_port

ACCESS_KEY = "portside-test"
SECRET_KEY = "only-for-tests"
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


class S3Server:
    """`weed server -s3` in a folder: stopped and started again it keeps ports and objects."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ports = {
            name: reserved_port(self)
            for name in ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
        }
        self.port = reserved_port(self)
        self._s3_grpc = reserved_port(self)
        self._process: Server | None = None
        identity = {
            "name": "node",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": _ACTIONS,
        }
        (home / "data").mkdir()
        (home / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def start(self) -> None:
        """Start it and wait until it takes an object."""
        weed, ports, data = packages.seaweedfs(BUILD), self._ports, self._home / "data"
        command = [
            *(str(weed), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-master.port={ports['master']}", f"-master.port.grpc={ports['master_grpc']}"),
            # It would report to its makers.
            "-master.telemetry=false",
            *(f"-volume.port={ports['volume']}", f"-volume.port.grpc={ports['volume_grpc']}"),
            *("-volume.preStopSeconds=0", "-volume.max=2000"),
            *("-filer", f"-filer.port={ports['filer']}"),
            *(f"-filer.port.grpc={ports['filer_grpc']}", f"-filer.localSocket={data}/f.sock"),
            *("-s3", f"-s3.port={self.port}", f"-s3.port.grpc={self._s3_grpc}"),
            *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-s3.config={self._home}/s3.json", f"-s3.localSocket={data}/s.sock"),
            "-s3.autoCreateBucket=false",
        ]
        # Without a HOME and with a folder of its own it finds nobody's configuration.
        self._process = start("weed", command, self._home, {"HOME": str(data)})
        self._process.wait_until(self._takes_objects)

    def _takes_objects(self) -> bool:
        client = self.client
        try:
            client.create_bucket(Bucket="ready")
        except ClientError as error:
            if "Bucket" not in error.response["Error"]["Code"]:
                return False
        except BotoCoreError:
            return False
        try:
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (ClientError, BotoCoreError):
            return False
        return True

    def stop(self) -> None:
        """End it at once; its objects stay. On a polite word it would wait 15 s for its masters."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    @cached_property
    def client(self) -> Any:
        """A client of the tests' own; to make one takes a tenth of a second."""
        return boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1").client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


@dataclass(frozen=True)
class Asked:
    """One request that came to the front."""

    method: str
    path: str
    query: dict[str, str]
    size: int

    @property
    def part(self) -> int | None:
        """The part's number, of a part that is sent."""
        number = self.query.get("partNumber")
        return int(number) if self.method == "PUT" and number else None

    @property
    def is_upload(self) -> bool:
        """Whether it brings bytes."""
        return self.method == "PUT"


Disturbance = Callable[[Asked], tuple[int, str] | None]
"""Answers a request with a status and an S3 code in the server's place; None passes it on. Raising
ConnectionError cuts the connection."""


class Front:
    """Passes requests on to an S3 server as they come: their signature stays good."""

    def __init__(self, server: S3Server) -> None:
        self.asked: list[Asked] = []
        self.disturb: Disturbance = lambda asked: None
        self._http = _FrontServer(("127.0.0.1", reserved_port(self)), _Handler)
        self._http.front, self._http.backend = self, server.port
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """No request is taken any more."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def parts(self) -> list[int]:
        """The numbers of the parts that were sent, in order of arrival."""
        return [each.part for each in list(self.asked) if each.part is not None]

    def uploads(self) -> list[str]:
        """The paths of everything that brought bytes."""
        return [each.path for each in list(self.asked) if each.is_upload]


class _FrontServer(ThreadingHTTPServer):
    daemon_threads = True
    front: Front
    backend: int

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed cuts its connections: no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _FrontServer

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {
            key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        asked = Asked(self.command, parts.path, query, len(body))
        self.server.front.asked.append(asked)
        instead = self.server.front.disturb(asked)
        if instead is not None:
            status, code = instead
            text = f"<Error><Code>{code}</Code><Message>told by the test</Message></Error>"
            self._answer(status, {"Content-Type": "application/xml"}, text.encode())
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""
