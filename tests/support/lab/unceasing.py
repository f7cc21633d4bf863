"""Uploads without a pause: PUT, form and tus, slow ones and quick ones, while something changes.

A plain upload has one try: whatever cuts or refuses it is a failure. One by tus goes on as its
protocol says, and fails if it doesn't come to its end.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portside.quantities import KIB
from tests.support.lab.requests import UPLOAD, Answer, Node, read_answer

_TUS = {"Tus-Resumable": "1.0.0"}
_PATIENCE = 300.0
"""Seconds: a computer that carries a whole lab may be slow, and that drops nothing."""

_EVERY = 0.4
"""Seconds from one quick upload to the next of its kind: within what one owner may begin."""

_TRIES = 60
"""Of a tus upload, half a second apart."""


@dataclass
class Tally:
    """What became of them. Changed by all of their threads."""

    stored: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    resumed: int = 0
    longest: float = 0.0
    """Seconds that the slowest of the quick ones took."""


@contextmanager
def uploads_without_a_pause(
    node: Node, seconds: float = 3.0, kinds: Collection[str] = ("put", "form", "tus")
) -> Iterator[Tally]:
    """Of each kind one that takes so long is under way at every moment of this context, and quick
    ones begin all the while."""
    tally, over = Tally(), threading.Event()

    def go_on(kind: str, send: Callable[[Node, bytes, float, Tally], None], pause: float) -> None:
        while not over.is_set():
            content = os.urandom(60 * KIB)
            begun = time.monotonic()
            try:
                send(node, content, pause, tally)
                tally.stored[kind] += 1
            except (AssertionError, OSError, http.client.HTTPException) as error:
                tally.failed.append(f"{kind} after {time.monotonic() - begun:.1f} s: {error!r}")
            if not pause:
                took = time.monotonic() - begun
                tally.longest = max(tally.longest, took)
                over.wait(_EVERY - took)

    threads = [
        threading.Thread(target=go_on, args=(kind, send, pause), name=f"{kind} {pause}")
        for kind, send in (("put", _put), ("form", _form), ("tus", _tus))
        if kind in kinds
        for pause in (0.0, seconds / 20)
    ]
    for each in threads:
        each.start()
    try:
        yield tally
    finally:
        over.set()
        for each in threads:
            each.join()


def _put(node: Node, content: bytes, pause: float, tally: Tally) -> None:
    head = f"PUT {UPLOAD}/{secrets.token_hex(8)}.bin HTTP/1.1"
    _stored(_sent(node, head, {}, content, pause), content)


def _form(node: Node, content: bytes, pause: float, tally: Tally) -> None:
    boundary = secrets.token_hex(16)
    begin = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = begin.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    _stored(_sent(node, f"POST {UPLOAD} HTTP/1.1", headers, body, pause), content)


def _sent(node: Node, line: str, headers: dict[str, str], body: bytes, pause: float) -> Answer:
    """One request whose body comes in twenty pieces with a pause behind each."""
    told = {
        "Host": node.host,
        "Content-Length": str(len(body)),
        "Authorization": f"Bearer {node.mint()}",
        **headers,
    }
    head = "\r\n".join([line, *(f"{key}: {value}" for key, value in told.items()), "", ""])
    with node.connect(_PATIENCE) as connection:
        connection.sendall(head.encode())
        _pieces(connection.sendall, body, pause)
        return read_answer(connection)


def _pieces(send: Callable[[bytes], None], body: bytes, pause: float) -> None:
    step = max(1, len(body) // 20)
    for start in range(0, len(body), step):
        send(body[start : start + step])
        if pause:
            time.sleep(pause)


def _stored(answer: Answer, content: bytes) -> None:
    assert answer.status == 201, f"{answer.status} {answer.body[:200]!r}"
    assert json.loads(answer.body)["size"] == len(content)


def _tus(node: Node, content: bytes, pause: float, tally: Tally) -> None:
    token = {**_TUS, "Authorization": f"Bearer {node.mint(name='a.bin')}"}
    place = _created(node, token, len(content))
    offset = 0
    for _ in range(_TRIES):
        try:
            answer = _patched(node, place, token, content, offset, pause)
            if answer.status == 204:
                assert answer.headers["Upload-Offset"] == str(len(content))
                return
            assert answer.status in (409, 423, 500, 502, 503), f"{answer.status} {answer.body!r}"
        except (OSError, http.client.HTTPException):
            pass
        tally.resumed += 1
        time.sleep(0.5)
        offset = _offset(node, place, token, offset)
        if offset == len(content):
            return
    raise AssertionError("it never came to its end")


def _created(node: Node, token: dict[str, str], length: int) -> str:
    for _ in range(_TRIES):
        try:
            headers = {**token, "Upload-Length": str(length)}
            made = node.ask("POST", "/api/v1/uploads", headers=headers)
            if made.status in (200, 201):
                return str(made.headers["Location"]).removeprefix(f"https://{node.host}")
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.5)
    raise AssertionError("it couldn't be created")


def _patched(
    node: Node, place: str, token: dict[str, str], content: bytes, offset: int, pause: float
) -> Answer:
    told = {
        "Host": node.host,
        "Content-Length": str(len(content) - offset),
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
        **token,
    }
    lines = [f"PATCH {place} HTTP/1.1", *(f"{key}: {value}" for key, value in told.items())]
    with node.connect(_PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        _pieces(connection.sendall, content[offset:], pause)
        return read_answer(connection)


def _offset(node: Node, place: str, token: dict[str, str], known: int) -> int:
    try:
        told = node.ask("HEAD", place, headers=token)
        return int(told.headers["Upload-Offset"]) if told.status in (200, 204) else known
    except (OSError, http.client.HTTPException):
        return known
