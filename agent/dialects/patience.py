"""Refusals that pass, in the statuses that make clients of tus wait.

tus-js-client, on which Uppy stands, tries again after 5xx, 409 and 423 and gives up at any other
4xx, so at 429. Where it asks how far an upload is, 423 alone makes it ask again: after whatever
else it begins a new upload, and after 4xx it forgets the old one. tus-java-client waits for 5xx and
423.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from agent.problems import ProblemError

_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)


@contextmanager
def patience_of(dialect: str | None, method: str) -> Iterator[None]:
    """Whatever passes and is raised in the block is said as a request's client waits for it.

    `dialect` and `method` are the request's. Retry-After and the words stay.
    """
    try:
        yield
    except ProblemError as problem:
        if dialect != "tus":
            raise
        if method == "HEAD" and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ProblemError("upload-locked", problem.detail, problem.headers) from None
        if problem.status in _PASSING:
            raise ProblemError("throttled", problem.detail, problem.headers) from None
        raise
