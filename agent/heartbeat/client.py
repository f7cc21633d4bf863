"""What a node sends to the control plane, signed, and the answer or what came in place of one.

Whatever is at the other end, the node goes on: it is heard for some seconds, and only an answer in
full counts.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from agent.host.http_client import Answer, NoAnswer, Request, Unreachable, exchange
from agent.host.tls import trust
from portside.quantities import MIB
from portside.tokens import HEARTBEAT_AUDIENCE, SigningKey, mint_heartbeat
from portside.wire import paths
from portside.wire.base import Message
from portside.wire.claims import HeartbeatClaims
from portside.wire.heartbeat import Heartbeat, HeartbeatAnswer
from portside.wire.inventory import HeldFiles, HeldFilesAnswer, InventoryAnswer, InventoryPage
from portside.wire.problem import PROBLEM_PREFIX, Problem, in_words

DEADLINE = 10.0
"""Seconds for the whole exchange, once connected."""

MOST = 4 * MIB
"""Bytes of an answer: the roster of a few thousand nodes and their work fit in."""


_AGENT = f"portside-agent/{version('portside')}"

_Answer = TypeVar("_Answer", bound=Message)


class ControlAway(Exception):
    """A heartbeat that wasn't answered. `kind` tells one trouble from another, for the log."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class ControlClient:
    """The control plane as this node reaches it."""

    def __init__(self, node_id: str, key: SigningKey, ca: Path | None) -> None:
        self._node_id = node_id
        self._key = key
        self._ca = ca
        self.ticket = ""
        """That of the last heartbeat's answer; empty before the first."""

    def send(self, url: str, heartbeat: Heartbeat, stopped: Callable[[], bool]) -> HeartbeatAnswer:
        """Send a heartbeat to the control plane at `url`. Raises ControlAway.

        One that didn't count (an answer was lost, or the control plane's memory is an older one) is
        sent again with the right ticket.
        """
        for _ in range(2):
            shown = heartbeat.model_copy(update={"ticket": self.ticket})
            answer = self._tell(url, "heartbeat", shown, HeartbeatAnswer, stopped)
            self.ticket = answer.ticket or ""
            if answer.taken:
                return answer
        raise ControlAway(
            "ticket",
            "another heartbeat of this node's came in between: see whether a second machine runs "
            "with this node's id and key",
        )

    def compare(
        self, url: str, page: InventoryPage, stopped: Callable[[], bool]
    ) -> InventoryAnswer:
        """Ask in what a page of this node's files differs. Raises ControlAway."""
        return self._tell(url, "inventory", page, InventoryAnswer, stopped)

    def tell_held(self, url: str, held: HeldFiles, stopped: Callable[[], bool]) -> HeldFilesAnswer:
        """Tell what is known of files. Raises ControlAway."""
        return self._tell(url, "inventory/files", held, HeldFilesAnswer, stopped)

    def _tell(
        self,
        url: str,
        what: str,
        message: Message,
        model: type[_Answer],
        stopped: Callable[[], bool],
    ) -> _Answer:
        body = message.model_dump_json().encode()
        request = Request(
            url=f"{url.rstrip('/')}{paths.NODES}/{self._node_id}/{what}",
            body=body,
            headers={
                "Authorization": f"Bearer {self._signed(body)}",
                "Accept": "application/json",
                "User-Agent": _AGENT,
            },
            most=MOST,
        )
        try:
            answer = exchange(request, DEADLINE, lambda: trust(self._ca), stopped)
        except Unreachable as error:
            raise ControlAway("unreachable", str(error)) from None
        except NoAnswer as error:
            raise ControlAway("no-answer", str(error)) from None
        return _understood(answer, model)

    def _signed(self, body: bytes) -> str:
        claims = HeartbeatClaims(
            iss=self._node_id,
            aud=HEARTBEAT_AUDIENCE,
            iat=int(time.time()),
            jti=secrets.token_urlsafe(16),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        return mint_heartbeat(self._key, claims)


def _understood(answer: Answer, model: type[_Answer]) -> _Answer:
    if answer.status != HTTPStatus.OK:
        raise ControlAway(f"answered-{answer.status}", f"answered {answer.status}{_why(answer)}")
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise ControlAway("nonsense", f"its answer is none: {in_words(error)}"[:300]) from None


def _why(answer: Answer) -> str:
    """What a problem document says, if the answer has one."""
    try:
        problem = Problem.model_validate_json(answer.body)
    except ValidationError:
        return ""
    return f" {problem.type.removeprefix(PROBLEM_PREFIX)}: {problem.detail}"[:300]
