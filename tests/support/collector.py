"""A real OTLP/HTTP collector on loopback: takes what the specification allows, keeps the spans."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tests.support.loopback import reserved_port

Decimal64 = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,19})$")]
"""64-bit integers are text in proto3's JSON."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnyValue(_Message):
    """opentelemetry.proto.common.v1.AnyValue, as far as it is used."""

    stringValue: str | None = None  # noqa: N815 (its name there)
    intValue: Decimal64 | None = None  # noqa: N815 (its name there)


class KeyValue(_Message):
    key: str = Field(min_length=1)
    value: AnyValue


class Status(_Message):
    code: Literal[0, 1, 2] = 0
    message: str = ""


class Span(_Message):
    """opentelemetry.proto.trace.v1.Span."""

    traceId: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]  # noqa: N815
    spanId: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]  # noqa: N815
    parentSpanId: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None  # noqa: N815
    traceState: str = ""  # noqa: N815
    flags: Annotated[int, Field(ge=0, lt=2**32)]
    name: str = Field(min_length=1)
    kind: Literal[1, 2, 3, 4, 5]
    startTimeUnixNano: Decimal64  # noqa: N815
    endTimeUnixNano: Decimal64  # noqa: N815
    attributes: list[KeyValue]
    status: Status

    @property
    def said(self) -> dict[str, str]:
        """Its attributes by name."""
        return {
            each.key: each.value.stringValue or each.value.intValue or ""
            for each in self.attributes
        }


class Scope(_Message):
    name: str
    version: str


class ScopeSpans(_Message):
    scope: Scope
    spans: list[Span] = Field(min_length=1)


class Resource(_Message):
    attributes: list[KeyValue]


class ResourceSpans(_Message):
    resource: Resource
    scopeSpans: list[ScopeSpans]  # noqa: N815


class Export(_Message):
    """opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest."""

    resourceSpans: list[ResourceSpans]  # noqa: N815


class Collector:
    """Answers exports with `status` after `delay` seconds, keeps spans. Ends with its context."""

    def __init__(self) -> None:
        self.status = 200
        self.delay = 0.0
        self.answer: dict[str, Any] = {}
        self.requests = 0
        self.wrong: list[str] = []
        self.bodies: list[bytes] = []
        self.exports: list[Export] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(collector.delay)
                status = collector._take(self.path, self.headers["Content-Type"], body)
                said = json.dumps(collector.answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", reserved_port(self)), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def _take(self, path: str, kind: str, body: bytes) -> int:
        self.requests += 1
        self.bodies.append(body)
        if (path, kind) != ("/v1/traces", "application/json"):
            self.wrong.append(f"{path} {kind}")
            return 404
        try:
            export = Export.model_validate_json(body)
        except ValidationError as error:
            self.wrong.append(str(error))
            return 400
        if self.status == 200:
            self.exports.append(export)
        return self.status

    def spans(self) -> list[Span]:
        """What was taken so far."""
        assert not self.wrong, self.wrong
        return [
            span
            for export in self.exports
            for of_resource in export.resourceSpans
            for of_scope in of_resource.scopeSpans
            for span in of_scope.spans
        ]

    def wait_for(self, condition: Callable[[list[Span]], Any], seconds: float = 60) -> list[Span]:
        """The spans, once they are what the test waits for."""
        until = time.monotonic() + seconds
        while not condition(self.spans()):
            assert time.monotonic() < until, [(span.name, span.traceId) for span in self.spans()]
            time.sleep(0.05)
        return self.spans()

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
