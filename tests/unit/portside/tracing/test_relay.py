"""Spans from a process without a network to one that has it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from portside.tracing import relay
from portside.tracing.context import begin
from portside.tracing.otlp import Encoded
from portside.tracing.relay import Relay
from portside.tracing.spans import Kind, Span
from tests.support.loopback import wait_until

SPAN = Span(begin(), None, "PUT", Kind.SERVER, 1, 2, {"url.path": "/a/ä"}, "")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Deeper than a socket's address may be long."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    return deep / "spans.sock"


def test_spans_get_through_and_what_is_none_is_passed_over(place: Path) -> None:
    taken: list[Encoded] = []
    going = threading.Event()
    thread = threading.Thread(
        target=relay.receive, args=(place, taken.append, lambda: not going.is_set())
    )
    # What a process before has left is in nobody's way.
    place.touch()
    thread.start()
    try:
        wait_until(place.is_socket)
        sender = Relay(place)

        def through() -> bool:
            sender.put(SPAN)
            return bool(taken)

        wait_until(through)
        assert taken[0]["traceId"] == SPAN.at.trace_id
        assert taken[0]["attributes"] == [{"key": "url.path", "value": {"stringValue": "/a/ä"}}]
        before = len(taken)
        with relay._short(place) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as odd:
            for data in (b"", b"{", b"[]", b"\xff", b"[" * 60000):
                odd.sendto(data, name)
        sender.put(SPAN)
        wait_until(lambda: len(taken) > before)
        assert all(each["name"] == "PUT" for each in taken)
        assert place.stat().st_mode & 0o777 == 0o600
    finally:
        going.set()
        thread.join()


def test_a_sender_without_a_network_gets_through(place: Path) -> None:
    """As the web side's unit has it: PrivateNetwork=yes."""
    send = (
        "import sys; from pathlib import Path; from portside.tracing.context import begin; "
        "from portside.tracing.relay import Relay; from portside.tracing.spans import Kind, Span; "
        "sent = Relay(Path(sys.argv[1])); "
        "sent.put(Span(begin(), None, 'PUT', Kind.SERVER, 1, 2, {}, '')); sys.exit(sent.dropped())"
    )
    with relay._short(place) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name)
        subprocess.run(["unshare", "--net", sys.executable, "-c", send, str(place)], check=True)
        receiver.setblocking(False)
        assert json.loads(receiver.recv(relay.LONGEST))["name"] == "PUT"


def test_without_a_receiver_spans_are_dropped_and_counted_at_once(place: Path) -> None:
    sender = Relay(place)
    sender.put(SPAN)
    assert sender.dropped() == 1
    with relay._short(place) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(name)
        for _ in range(5000):
            sender.put(SPAN)
    assert sender.dropped() > 1
