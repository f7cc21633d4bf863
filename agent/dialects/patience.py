"""Refusals that pass, said so that tus clients wait: 503 where others hear 429.

tus-js-client, and Uppy on top of it, tries again after 5xx, 409 and 423. At any other 4xx it gives
up, and what it asked with HEAD it forgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from agent.problems import ProblemError


@contextmanager
def as_tus_waits() -> Iterator[None]:
    """A 429 that the block raises becomes a 503 `throttled`, with the same Retry-After."""
    try:
        yield
    except ProblemError as problem:
        if problem.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise
        raise ProblemError("throttled", problem.detail, headers=problem.headers) from None
