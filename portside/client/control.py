"""The control plane's API as typed calls: nodes, files, sessions, receipts, moves, usage.

What comes back is checked against `portside.wire.control` and its neighbours. While the
control plane is busy or restarts, what may be asked twice is asked again a few times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ValidationError

from portside.backoff import Backoff, spread
from portside.client.http.answers import (
    PASSING_REFUSALS,
    Bearer,
    innermost,
    must_keep_secrets,
    problem_of,
    retry_after,
)
from portside.client.http.errors import ControlRefused, ControlUnavailable, describe, slug_of
from portside.client.http.session import AnswerUnusable
from portside.client.http.session import Session as HttpSession
from portside.client.http.trust import trusted_authorities
from portside.wire import paths
from portside.wire.control import (
    FileReceipt,
    FileUrl,
    FileView,
    FileViews,
    NewPool,
    NodeStateRequest,
    NodeView,
    NodeViews,
    PoolSettings,
    PoolView,
    PoolViews,
    RepairView,
    Session,
    SessionRequest,
)
from portside.wire.files import HoldRequest, LifetimeChange
from portside.wire.inventory import LeavingAnswer, LeavingQuestion, OnlyCopies, OnlyCopiesQuery
from portside.wire.keys import RevocationRequest, RevokedView, RevokedViews
from portside.wire.moves import MovePlan, MoveRequest, MoveView, MoveViews
from portside.wire.status import QuotaInForce, QuotaWish, UsageViews

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0

ATTEMPTS = 5
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
"""More than this no Retry-After can ask for: who has to wait longer is told so."""

_LASTING = ("issuer-key-missing",)
"""Unavailable until somebody does something about it."""

M = TypeVar("M", bound=BaseModel)

Waiting = Callable[[float, str], None]
"""Called with the seconds until the next attempt and why it is needed."""

Steering = Literal["pause", "resume", "cancel"]


def _wait_in_silence(seconds: float, reason: str) -> None:
    pass


class Control:
    """The control plane at `url` (`https://control.example.net`), asked with an app's key.

    `ca` is a PEM file to trust instead of the system's authorities. For one thread at a time.
    Every call raises ControlRefused and ControlUnavailable. Raises ValueError for a URL that would
    send the key in the clear.
    """

    def __init__(
        self, url: str, api_key: str, ca: Path | None = None, on_wait: Waiting = _wait_in_silence
    ) -> None:
        must_keep_secrets(url, "the control plane's")
        self.url = url.rstrip("/")
        self._key = Bearer(api_key)
        self._verify = trusted_authorities(ca)
        self._on_wait = on_wait
        self._session = HttpSession()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def check_key(self) -> None:
        """Raise unless the control plane knows the key, whatever it may do."""
        try:
            self.files({"limit": "1"})
        except ControlRefused as refused:
            if refused.problem.status != requests.codes.forbidden:
                raise

    def nodes(self) -> NodeViews:
        """Every node."""
        return self._ask(NodeViews, "GET", paths.NODES)

    def node(self, node_id: str) -> NodeView:
        """One node, with what it keeps."""
        return self._ask(NodeView, "GET", f"{paths.NODES}/{_part(node_id)}")

    def repair(self) -> RepairView:
        """What repair has to do."""
        return self._ask(RepairView, "GET", paths.REPAIR)

    def set_state(self, node_id: str, wish: NodeStateRequest) -> NodeView:
        """Tell what is wanted of a node. The same wish again is fine."""
        return self._ask(NodeView, "POST", f"{paths.NODES}/{_part(node_id)}/state", wish)

    def who_else(self, node_id: str, question: LeavingQuestion) -> LeavingAnswer:
        """Which other nodes have files that a node says it has; nothing is changed."""
        return self._ask(LeavingAnswer, "POST", _leaving(node_id), question)

    def only_copies(self, node_id: str, query: OnlyCopiesQuery) -> OnlyCopies:
        """A page of the files that a node should have and that are nowhere else."""
        asked = {name: str(value) for name, value in query if value is not None}
        return self._ask(OnlyCopies, "GET", _leaving(node_id), query=asked)

    def pools(self) -> PoolViews:
        """Every pool."""
        return self._ask(PoolViews, "GET", paths.POOLS)

    def pool(self, pool_id: str) -> PoolView:
        """One pool."""
        return self._ask(PoolView, "GET", f"{paths.POOLS}/{_part(pool_id)}")

    def create_pool(self, new: NewPool) -> PoolView:
        """Make a pool on a node."""
        return self._ask(PoolView, "POST", paths.POOLS, new, repeatable=False)

    def change_pool(self, pool_id: str, settings: PoolSettings) -> PoolView:
        """Set what is given of a pool's settings, None as well. The same wish again is fine."""
        return self._ask(PoolView, "PATCH", f"{paths.POOLS}/{_part(pool_id)}", settings, nulls=True)

    def delete_pool(self, pool_id: str) -> PoolView:
        """Delete a pool that nothing is in."""
        return self._ask(PoolView, "DELETE", f"{paths.POOLS}/{_part(pool_id)}", repeatable=False)

    def files(self, query: Mapping[str, str]) -> FileViews:
        """A page of the files that fit, newest first."""
        return self._ask(FileViews, "GET", paths.FILES, query=query)

    def file(self, file_id: str) -> FileView:
        """One file with its copies."""
        return self._ask(FileView, "GET", f"{paths.FILES}/{_part(file_id)}")

    def file_url(self, file_id: str, avoid: tuple[str, ...] = ()) -> FileUrl:
        """Where a good copy is served from now, signed where it must be; rather not `avoid`."""
        query = {"avoid": ",".join(avoid)} if avoid else {}
        return self._ask(FileUrl, "GET", f"{paths.FILES}/{_part(file_id)}/url", query=query)

    def delete(self, file_id: str) -> FileView:
        """Have every copy of a file deleted; the nodes do that when they next report."""
        return self._ask(FileView, "DELETE", f"{paths.FILES}/{_part(file_id)}")

    def change_lifetime(self, file_id: str, change: LifetimeChange) -> FileView:
        """Have a file end at another moment, or not at all; one that ended comes back."""
        path = f"{paths.FILES}/{_part(file_id)}"
        return self._ask(FileView, "PATCH", path, change, nulls=True)

    def hold(self, file_id: str, reason: str) -> FileView:
        """Have a file served to nobody; the nodes do that when they next report."""
        wish = HoldRequest(reason=reason)
        return self._ask(FileView, "POST", f"{paths.FILES}/{_part(file_id)}/hold", wish)

    def release(self, file_id: str, reason: str) -> FileView:
        """Have a file that is held served again."""
        wish = HoldRequest(reason=reason)
        return self._ask(FileView, "POST", f"{paths.FILES}/{_part(file_id)}/release", wish)

    def usage(self, query: Mapping[str, str]) -> UsageViews:
        """A page of owners or apps, those with the most bytes first."""
        return self._ask(UsageViews, "GET", paths.USAGE, query=query)

    def set_quota(self, kind: Literal["owner", "app"], name: str, wish: QuotaWish) -> QuotaInForce:
        """Say what an owner or an app may have; None that was given is no limit."""
        path = f"{paths.QUOTAS}/{kind}s/{_part(name)}"
        return self._ask(QuotaInForce, "PUT", path, wish, nulls=True)

    def unset_quota(self, kind: Literal["owner", "app"], name: str) -> QuotaInForce:
        """Let it be as the cluster file has it again."""
        return self._ask(QuotaInForce, "DELETE", f"{paths.QUOTAS}/{kind}s/{_part(name)}")

    def session(self, wish: SessionRequest, idempotency_key: str) -> Session:
        """Where a file may be uploaded. The same key again is the same session."""
        headers = {"Idempotency-Key": idempotency_key}
        return self._ask(Session, "POST", paths.SESSIONS, wish, headers=headers)

    def register(self, receipt: str) -> FileView:
        """Tell of a stored file. The same receipt again is fine."""
        return self._ask(FileView, "POST", paths.FILES, FileReceipt(receipt=receipt))

    def revoke(self, wish: RevocationRequest) -> RevokedView:
        """Have a token count no more. The same wish again is fine."""
        return self._ask(RevokedView, "POST", paths.REVOKED, wish)

    def revoked(self) -> RevokedViews:
        """Every token that is revoked and would count otherwise."""
        return self._ask(RevokedViews, "GET", paths.REVOKED)

    def plan_move(self, wish: MoveRequest) -> MovePlan:
        """What a move would do; nothing happens."""
        dry = wish.model_copy(update={"dry_run": True})
        return self._ask(MovePlan, "POST", paths.MOVES, dry)

    def begin_move(self, wish: MoveRequest) -> MoveView:
        """Begin a move."""
        return self._ask(MoveView, "POST", paths.MOVES, wish, repeatable=False)

    def moves(self) -> MoveViews:
        """Every move, newest first."""
        return self._ask(MoveViews, "GET", paths.MOVES)

    def move(self, move_id: str) -> MoveView:
        """How far a move is."""
        return self._ask(MoveView, "GET", f"{paths.MOVES}/{_part(move_id)}")

    def steer_move(self, move_id: str, how: Steering) -> MoveView:
        """Pause a move, let it go on, or end it."""
        return self._ask(MoveView, "POST", f"{paths.MOVES}/{_part(move_id)}/{how}")

    def _ask(
        self,
        kind: type[M],
        method: str,
        path: str,
        body: BaseModel | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        nulls: bool = False,
    ) -> M:
        """The answer to a request, after some patience.

        With `nulls` None is sent where it was given; else it is left out, for an older control
        plane doesn't know every field.

        One that isn't `repeatable` is only sent again after an answer that says it wasn't carried
        out: 429 and 503.
        """
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                answer = self._session.request(
                    method,
                    self.url + path,
                    params=dict(query or {}),
                    data=body.model_dump_json(exclude_unset=nulls, exclude_none=not nulls)
                    if body
                    else None,
                    headers={
                        "Accept": "application/json",
                        **({"Content-Type": "application/json"} if body else {}),
                        **(headers or {}),
                    },
                    auth=self._key,
                    timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                    verify=self._verify,
                    # A redirect would take the key elsewhere.
                    allow_redirects=False,
                )
            except requests.exceptions.SSLError as error:
                raise ControlUnavailable(
                    f"{self.url}: its certificate or TLS is not accepted: {innermost(error)}; name "
                    "the CA to trust: `portside login URL --ca FILE`, or PORTSIDE_CA"
                ) from None
            except AnswerUnusable as error:
                raise ControlUnavailable(f"{self.url}: {error}: is this a control plane?") from None
            except (requests.RequestException, OSError) as error:
                reason = f"{self.url}: no connection: {innermost(error)}"
                if last or not repeatable:
                    raise ControlUnavailable(reason) from None
                self._pause(attempt, reason, None)
                continue
            if 200 <= answer.status_code < 300:
                return self._parsed(kind, answer)
            asked = self._passing(answer, last)
            self._pause(attempt, describe(problem_of(answer)), asked)
        raise AssertionError("the last attempt returns or raises")

    def _passing(self, answer: requests.Response, last: bool) -> float | None:
        """The pause that an answer asks for which is worth another attempt. Raises for others."""
        problem, asked = problem_of(answer), retry_after(answer)
        if answer.status_code < 500 and answer.status_code not in PASSING_REFUSALS:
            raise ControlRefused(problem)
        passing = (
            answer.status_code in (*PASSING_REFUSALS, 503) and slug_of(problem) not in _LASTING
        )
        if last or not passing:
            raise ControlUnavailable(describe(problem), problem)
        if asked is not None and asked > LONGEST_PAUSE:
            raise ControlUnavailable(f"{describe(problem)}; try again in {asked:.0f} s", problem)
        return asked

    def _pause(self, attempt: int, reason: str, asked: float | None) -> None:
        doubled = Backoff(SHORTEST_PAUSE, LONGEST_PAUSE).most(attempt)
        pause = spread(max(doubled if asked is None else asked, SHORTEST_PAUSE), (1.0, 1.3))
        self._on_wait(pause, reason)
        time.sleep(pause)

    def _parsed(self, kind: type[M], answer: requests.Response) -> M:
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the answer"
            raise ControlUnavailable(
                f"{self.url}: answered {answer.status_code}, but not as a control plane of this "
                f"release does ({where}: {first['msg']}): check the URL and both versions"
            ) from None


def _leaving(node_id: str) -> str:
    return f"{paths.NODES}/{_part(node_id)}/leaving"


def _part(text: str) -> str:
    return quote(text, safe="")
