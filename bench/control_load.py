"""What nodes and apps do to a control plane: heartbeats and session requests on a fixed schedule.

The schedule is an open loop: each request has its planned moment, and its seconds count from there,
so that what waits because others are slow shows. Connections are kept, as nginx keeps them; when
all of them are waiting for answers the next request is late, and counts as that.

Each function here runs in a process of its own. Moments are `time.monotonic`, which is the same
clock in all of them.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from portside.quantities import GIB, MIB
from portside.tokens import SigningKey
from portside.wire import paths
from tests.support.control.cluster import FakeNodes

_PATIENCE = 60.0
"""Seconds for an answer."""
_AHEAD = 300
"""Heartbeats that are signed before they are due: some seconds' worth."""
_OWNERS = 5000
"""So many that none of them comes near its limit."""
_JSON = {"Content-Type": "application/json"}

Answered = tuple[float, float, str]
"""When a request was planned, seconds from there to the answer's end, what was wrong with it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Session requests: `rate` a second for `seconds` from `began` on; None is without a pause."""

    port: int
    key: str
    began: float
    seconds: float
    rate: float | None
    connections: int
    share: int
    shares: int
    """This process's part of the schedule, of so many."""


def ask_for_sessions(asking: Asking) -> list[Answered]:
    """Ask as planned until the time is over and every answer is in."""
    headers = {**_JSON, "Authorization": f"Bearer {asking.key}"}
    numbers = iter(range(asking.share, 1 << 62, asking.shares))
    return _on_each_connection(
        asking.port,
        asking.connections,
        _locked(_planned_sessions(asking, numbers, headers)),
        expected=201,
    )


def _planned_sessions(
    asking: Asking, numbers: Iterator[int], headers: Mapping[str, str]
) -> Iterator[_Request]:
    for number in numbers:
        now = max(time.monotonic(), asking.began)
        planned = now if asking.rate is None else asking.began + number / asking.rate
        if planned >= asking.began + asking.seconds:
            return
        owner = number % _OWNERS
        wish = {
            "owner": f"user-{owner}",
            "name": f"file-{number}.iso",
            "size": (1 + number % 64) * MIB,
            "client_address": f"10.0.{owner // 250}.{owner % 250}",
        }
        body = json.dumps(wish).encode()
        yield _Request(planned, paths.SESSIONS, headers, body)


@dataclass(frozen=True, slots=True)
class Reporting:
    """Heartbeats of all nodes, each every `every` seconds, evenly spread, from `began` on."""

    port: int
    keys: Mapping[str, str]
    """Private keys by node, as SigningKey writes them."""
    began: float
    every: float
    roster_version: int
    connections: int


def report(reporting: Reporting, stop: Event, results: Connection) -> None:
    """Send heartbeats until `stop`; then send what became of them to `results`."""
    # Bounded: they are signed before they are due, but not long before.
    signed: queue.Queue[_Request | None] = queue.Queue(_AHEAD)

    def sign() -> None:
        for beat in _signed(reporting):
            if stop.is_set():
                break
            signed.put(beat)
        for _ in range(reporting.connections):
            signed.put(None)

    threading.Thread(target=sign, daemon=True).start()

    def next_beat() -> _Request | None:
        beat = signed.get()
        return None if stop.is_set() else beat

    results.send(
        _on_each_connection(reporting.port, reporting.connections, next_beat, expected=200)
    )


def _signed(reporting: Reporting) -> Iterator[_Request]:
    nodes = FakeNodes(())
    nodes.keys = {name: SigningKey.from_json(key) for name, key in reporting.keys.items()}
    names = list(nodes.keys)
    wall = time.time() - time.monotonic()
    number = 0
    while True:
        planned = reporting.began + number * reporting.every / len(names)
        node_id = names[number % len(names)]
        beat = nodes.heartbeat(
            node_id,
            datetime.fromtimestamp(wall + planned, UTC),
            disk_free=8192 * GIB,
            disk_total=10240 * GIB,
            roster_version=reporting.roster_version,
        )
        token, body = nodes.signed(beat)
        headers = {**_JSON, "Authorization": f"Bearer {token}"}
        yield _Request(planned, f"{paths.NODES}/{node_id}/heartbeat", headers, body)
        number += 1


@dataclass(frozen=True, slots=True)
class _Request:
    planned: float
    path: str
    headers: Mapping[str, str]
    body: bytes


def _locked(requests: Iterator[_Request]) -> Callable[[], _Request | None]:
    """The next request, for whichever thread asks."""
    lock = threading.Lock()

    def take() -> _Request | None:
        with lock:
            return next(requests, None)

    return take


def _on_each_connection(
    port: int, connections: int, take: Callable[[], _Request | None], expected: int
) -> list[Answered]:
    with ThreadPoolExecutor(connections) as threads:
        running = [threads.submit(_send, port, take, expected) for _ in range(connections)]
        return [answered for each in running for answered in each.result()]


def _send(port: int, take: Callable[[], _Request | None], expected: int) -> Sequence[Answered]:
    """One connection's requests, until there are no more."""
    found: list[Answered] = []
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    while (request := take()) is not None:
        time.sleep(max(0.0, request.planned - time.monotonic()))
        try:
            connection.request("POST", request.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
            wrong = "" if answer.status == expected else f"{answer.status} {body[:200]!r}"
        except (OSError, HTTPException) as error:
            # The next request opens a connection anew.
            connection.close()
            wrong = repr(error)
        found.append((request.planned, time.monotonic() - request.planned, wrong))
    connection.close()
    return found
