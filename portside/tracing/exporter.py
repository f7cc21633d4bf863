"""Spans on their way to a collector, by OTLP over HTTP: one bounded queue, one thread.

OpenTelemetry's own exporter would bring a dozen packages onto each node. Spans are for looking
back, so nothing ever waits for them. What goes wrong on the way:

- the queue is full (the collector is slow or away): the span is dropped and counted;
- no connection, an answer that asks to come again (429, 502, 503, 504), none in time: the same
  spans are sent again after pauses that grow, a few times, and are dropped then;
- any other refusal: they are dropped at once, for they would be refused again;
- the process ends: what is in the queue has `LAST_SECONDS` to go, and goes down with it then.
"""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import structlog

from portside.backoff import Backoff
from portside.tracing import otlp
from portside.tracing.otlp import Encoded
from portside.tracing.spans import Span, Value

QUEUE = 2048
"""Spans that wait at most: some 2 MiB."""

BATCH = 256
"""Spans in one request."""

EVERY = 2.0
"""Seconds for which a span waits for others."""

PATIENCE = 10.0
"""Seconds for connecting, and for each step of an answer."""

PAUSES = Backoff(first=1, longest=30)
ATTEMPTS = 5

LAST_SECONDS = 2.0

_MOST_ANSWER = 64 * 1024
_AGAIN = frozenset({429, 502, 503, 504})

Outcome = Literal["exported", "queue-full", "undelivered", "refused"]

_log = structlog.get_logger()


class _Away(Exception):
    """Trying again may help."""


class _Refused(Exception):
    """Trying again won't."""


class Exporter:
    """Exports one process's spans to the collector at `url`, and others' that are handed to it.

    `resource` says whose they are. Thread-safe; nothing is sent before `start`.
    """

    def __init__(self, url: str, resource: Mapping[str, Value], version: str) -> None:
        self._target = urlsplit(url.rstrip("/") + "/v1/traces")
        self._resource = resource
        self._version = version
        self._queue: queue.Queue[Encoded] = queue.Queue(QUEUE)
        self._counts: Counter[Outcome] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._until = 0.0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, span: Span) -> None:
        """Take a span."""
        self.put_encoded(otlp.encoded(span))

    def put_encoded(self, span: Encoded) -> None:
        """Take a span that another process has encoded."""
        try:
            self._queue.put_nowait(span)
        except queue.Full:
            self._count("queue-full", 1)

    def counts(self) -> Mapping[Outcome, int]:
        """What became of spans since the start."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Send what is left, for as long as that may take, and send nothing more."""
        self._until = time.monotonic() + LAST_SECONDS
        self._closing.set()
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set() or not self._queue.empty():
            spans = self._taken()
            if spans:
                self._export(spans)
            if self._closing.is_set() and time.monotonic() >= self._until:
                return

    def _taken(self) -> list[Encoded]:
        """The spans of the next request: those that come within `EVERY` of the first."""
        spans, until = list[Encoded](), time.monotonic() + EVERY
        while len(spans) < BATCH:
            left = 0.0 if self._closing.is_set() else until - time.monotonic()
            try:
                # In slices: a close is heard meanwhile.
                spans.append(self._queue.get(timeout=max(0.0, min(left, 0.2))))
            except queue.Empty:
                if left <= 0:
                    break
        return spans

    def _export(self, spans: list[Encoded]) -> None:
        body = json.dumps(
            otlp.request(self._resource, self._version, spans), ensure_ascii=False
        ).encode("utf-8", errors="replace")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                rejected = min(self._send(body), len(spans))
            except _Refused as refused:
                self._tell(str(refused))
                self._count("refused", len(spans))
                return
            except _Away as away:
                self._tell(str(away))
            else:
                self._tell("")
                self._count("exported", len(spans) - rejected)
                self._count("refused", rejected)
                return
            pause = PAUSES.pause(attempt)
            if attempt == ATTEMPTS or self._closing.wait(pause):
                break
        self._count("undelivered", len(spans))

    def _send(self, body: bytes) -> int:
        """One request; returns how many spans the collector didn't take. Raises _Away, _Refused."""
        patience = min(PATIENCE, self._until - time.monotonic()) if self._until else PATIENCE
        if patience <= 0:
            raise _Away("the process ends")
        connection = self._connection(patience)
        try:
            connection.request(
                "POST", self._target.path, body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            said = answer.read(_MOST_ANSWER)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            # UnicodeError: a name that can't be one (socket.getaddrinfo encodes it as IDNA).
            raise _Away(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
        if answer.status in _AGAIN:
            raise _Away(f"answered {answer.status}")
        if not 200 <= answer.status < 300:
            raise _Refused(f"answered {answer.status}")
        return _rejected(said)

    def _connection(self, patience: float) -> http.client.HTTPConnection:
        host, port = self._target.hostname or "", self._target.port
        if self._target.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=patience)
        trusting = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=patience, context=trusting)

    def _count(self, outcome: Outcome, spans: int) -> None:
        if spans:
            with self._lock:
                self._counts[outcome] += spans

    def _tell(self, trouble: str) -> None:
        """A line when it begins to go wrong or to go well, not for every try."""
        if trouble and not self._trouble:
            _log.warning("spans don't reach the collector", error=trouble)
        elif self._trouble and not trouble:
            _log.info("spans reach the collector again")
        self._trouble = trouble


def _rejected(said: bytes) -> int:
    """How many spans an answer refuses of those that it was sent (`partialSuccess`)."""
    try:
        return max(0, int(json.loads(said)["partialSuccess"]["rejectedSpans"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        # An empty object, or nothing at all: everything was taken.
        return 0
