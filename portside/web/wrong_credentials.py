"""Tokens and keys that nobody of ours has signed or made, counted by the address they come from.

Neither can be guessed (a key has 256 bits, a signature is Ed25519): what is bounded is what trying
costs, on every endpoint alike, also on those where requests aren't limited by address. A right one
passes whatever else comes from its address: many people may be behind one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import falcon

from portside.web.addresses import party
from portside.web.problems import BaseProblemError
from portside.web.rate import Rate

WRONG = frozenset(
    {
        "token-malformed",
        "token-algorithm",
        "token-type",
        "token-unknown-key",
        "token-signature",
        "key-unknown",
        "source-unknown",
    }
)
"""The slugs that count. A token that is signed and has expired, or is for another node, is the
mistake of somebody who is known."""

MOST_ADDRESSES = 32_000
"""That are counted at once; the one that came least lately is forgotten for a new one."""

_FORWARDED = "X-Forwarded-For"
"""As nginx sets it: the address that the request came from, and nothing that a client has sent."""


class WrongCredentials:
    """Those of the last minute, in this process. Thread-safe."""

    def __init__(
        self,
        per_minute: int,
        problem_type: type[BaseProblemError[Any]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._rate = Rate(per_minute, clock, MOST_ADDRESSES)
        self._problem_type = problem_type

    def check(self, request: falcon.Request) -> None:
        """Raise the problem `rate-limited` where too many have come: before an expensive look."""
        sender = _sender(request)
        if sender is not None and (seconds := self._rate.wait(sender)):
            raise self._too_many(seconds)

    def judged(
        self, request: falcon.Request, problem: BaseProblemError[Any]
    ) -> BaseProblemError[Any]:
        """What is answered to a request that has this problem: it, or that there are too many.

        A client of tus gives up at either, and understands the first.
        """
        sender = _sender(request)
        if problem.slug not in WRONG or sender is None:
            return problem
        seconds = self._rate.take(sender)
        if not seconds or request.get_header("Tus-Resumable") is not None:
            return problem
        return self._too_many(seconds)

    def _too_many(self, seconds: int) -> BaseProblemError[Any]:
        return self._problem_type(
            "rate-limited",
            f"more than {self._rate.per_minute} wrong tokens or keys a minute came from this "
            f"address: come again in {seconds} s, with a right one at any time",
            {"Retry-After": str(seconds)},
        )


def _sender(request: falcon.Request) -> str | None:
    """Who is counted; nobody where the request comes from this machine, past nginx."""
    address = request.get_header(_FORWARDED)
    return None if not address else party(address)
