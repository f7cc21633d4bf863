"""Whatever a server answers, a client says so in a line: no traceback, no memory that fills up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portside.client import UploadError
from portside.client.control import Control
from portside.client.http import session
from portside.client.http.errors import ControlError
from portside.client.http.node import NodeClient
from portside.client.upload.tus import Uploads
from portside.quantities import MIB
from tests.support.client.control_double import API_KEY, ControlDouble, ControlHandler

DEEP = b"[" * 100_000
NODE = {"node_id": "s01", "state": "active", "healthy": True, "reasons": []}


@pytest.fixture(scope="module")
def server() -> Iterator[ControlDouble]:
    double = ControlDouble()
    yield double
    double.close()


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is reached soon."""
    monkeypatch.setattr(session, "MOST", MIB)


def _answers(status: int, body: bytes, **headers: str) -> Callable[[ControlHandler], bool]:
    def fault(handler: ControlHandler) -> bool:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if "Transfer_Encoding" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.close_connection = True
        try:
            if "Transfer_Encoding" in headers:
                for _ in range(64):
                    handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            else:
                handler.wfile.write(body)
        except OSError:
            # Nobody listens any more.
            pass
        return True

    return fault


def _json(**members: Any) -> bytes:
    return json.dumps({"nodes": [{**NODE, **members}], "keys": 7}).encode()


PROBLEM = {"type": "about:blank", "title": "x", "status": 404, "detail": "y"}

ANSWERS = {
    "endless": _answers(200, b" " * MIB, Transfer_Encoding="chunked"),
    "long": _answers(200, b" " * (MIB + 1)),
    "a bomb": _answers(200, gzip.compress(b" " * 50 * MIB), Content_Encoding="gzip"),
    "packed wrong": _answers(200, b"no gzip", Content_Encoding="gzip"),
    "a long refusal": _answers(404, b"x" * (MIB + 1)),
    "nothing": _answers(200, b""),
    "no JSON": _answers(200, b"<html>"),
    "no UTF-8": _answers(200, b'{"nodes": ["\xff\xfe"]}'),
    "half a character": _answers(200, b'{"nodes": ["\\ud800"]}'),
    "another type": _answers(200, b"[]"),
    "a number": _answers(200, b"9" * 10_000),
    "deep": _answers(200, DEEP),
    "deep within": _answers(200, b'{"nodes": ' + DEEP),
    "not a number": _answers(200, _json(clock_skew=float("nan"))),
    "infinite": _answers(200, _json(reserved=float("inf"))),
    "a huge number": _answers(200, _json(reserved=10**400)),
    "a wrong type": _answers(200, _json(healthy={"a": []})),
    "a wrong problem": _answers(404, b'{"type": 1}'),
    "a problem's status": _answers(404, json.dumps({**PROBLEM, "status": 10**400}).encode()),
    "a problem with more": _answers(404, json.dumps({**PROBLEM, "x": float("nan")}).encode()),
    "a deep problem": _answers(404, json.dumps(PROBLEM)[:-1].encode() + b', "x": ' + DEEP),
    "to nowhere": _answers(302, b"", Location="http://[x"),
    "to no port": _answers(302, b"", Location="http://x:99999999"),
    "long, to elsewhere": _answers(302, b"x" * (MIB + 1), Location="/x"),
    "later": _answers(404, json.dumps(PROBLEM).encode(), Retry_After="9" * 5000),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_none_is_an_error_in_words(server: ControlDouble, what: str) -> None:
    control, node = Control(server.url, API_KEY), NodeClient(server.url)
    try:
        for ask in (control.nodes, node.keys):
            # Once: nothing of it is better the next time.
            server.faults = [ANSWERS[what]]
            with pytest.raises((ControlError, UploadError)) as failed:
                ask()
            assert str(failed.value)
            assert len(str(failed.value)) < 2000
    finally:
        control.close()
        node.close()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (201, {"Location": "http://[x"}),
        (201, {"Location": "http://127.0.0.1:99999999/api/v1/uploads/x"}),
        (201, {"Location": "\\\\x"}),
        (201, {}),
        (204, {"Upload_Offset": "9" * 5000}),
        (204, {"Upload_Offset": "-1"}),
        (204, {"Upload_Offset": "1e3"}),
        (204, {"Upload_Offset": "5", "Upload_Length": "9" * 5000}),
    ],
)
def test_headers_that_say_nothing_usable_are_an_error_in_words(
    server: ControlDouble, status: int, headers: dict[str, str]
) -> None:
    node = NodeClient(server.url)
    uploads = Uploads(node, "token")
    server.faults = [_answers(status, b"", **headers)]
    with pytest.raises(UploadError):
        if status == 201:
            uploads.create(5, "a.bin")
        else:
            uploads.offset("/api/v1/uploads/x", 4)
    node.close()
