"""What gunicorn answers when a request can't be read: our problem document, in place of its HTML.

nginx refuses most of what isn't HTTP, but not all: control characters in headers get through. It is
gunicorn that finds these, before there is a request for an application to answer. Its own worker
can't be replaced by one of ours, for the master would load that, and keep it over a change of
release (templates/gunicorn/common.py.j2); each worker that loads an application calls this instead.
"""

from __future__ import annotations

import json
import socket
from http import HTTPStatus

from gunicorn import util

from portside.web.problems import PROBLEM_TYPE
from portside.wire.problem import PROBLEM_PREFIX

_UNREADABLE = (
    "malformed-request",
    "the request can't be read as HTTP/1.1: header values have no control characters, names of "
    "headers only letters, digits and '-', and what isn't ASCII in a URL is percent-encoded",
)
_TOO_LONG = (
    "malformed-request",
    "the URL or a header is longer than 8 KiB, or there are too many headers",
)
_FAILED = ("internal-error", "the service failed; its log says why")

_LARGEST = (HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


def answer_as_problems() -> None:
    """From here on this process has no answers in HTML."""
    util.write_error = _write


def _write(connection: socket.socket, status: int, reason: str, message: str) -> None:
    """In place of `gunicorn.util.write_error`; the message quotes the request, and isn't told."""
    util.write_nonblock(connection, answer_to(status))


def answer_to(status: int) -> bytes:
    """The whole answer where gunicorn would say `status`.

    Of its refusals all are 400, as nginx has them: 501 and 431 would be taken for the server's.
    """
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        told, (slug, detail) = HTTPStatus.INTERNAL_SERVER_ERROR, _FAILED
    else:
        told = HTTPStatus.BAD_REQUEST
        slug, detail = _TOO_LONG if status in _LARGEST else _UNREADABLE
    body = json.dumps(
        {
            "type": PROBLEM_PREFIX + slug,
            "title": slug.replace("-", " "),
            "status": told,
            "detail": detail,
        }
    )
    head = (
        f"HTTP/1.1 {told.value} {told.phrase}\r\nConnection: close\r\n"
        f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()
