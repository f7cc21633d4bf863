"""POST a hook's event and judge the answer by its status."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from agent.host.http_client import NoAnswer, Request, Unreachable, exchange
from agent.host.tls import trust
from agent.outbox.events import Outcome, answered

DEADLINE = 30.0
"""Seconds in all once connected: a receiver that sends a byte now and then is cut off."""


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    deadline: float = DEADLINE,
    trusting: ssl.SSLContext | None = None,
) -> Outcome:
    """Send `body` as JSON and judge the answer's status. Never raises what a receiver can cause.

    `trusting` says whose certificates count; without it those of the system's authorities.
    """
    try:
        answer = exchange(Request(url, body, headers), deadline, lambda: trusting or trust())
    except (Unreachable, NoAnswer) as error:
        return Outcome("failed", str(error))
    return answered(answer.status)
