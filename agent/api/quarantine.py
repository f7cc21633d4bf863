"""`/api/v1/quarantine`: what is kept out of service, and its being settled.

An access token's rights are those that it has to files: `list` sees what is here, `verify` has a
file read again and put back, or fetched, `delete` removes one.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from functools import partial

import falcon
from pydantic import ValidationError

from agent.api.authorization import Access
from agent.api.files import need_listener, storage_problems
from agent.index.database import Database
from agent.integrity.kept import ORDER_KEY, Entry, UnknownEntry, described, entries, one
from agent.integrity.settling import Settler, Unsettled
from agent.problems import ProblemError
from agent.settings import Settings
from agent.telemetry.health import NodeHealth
from portside.tokens import SigningKey
from portside.wire.claims import Right
from portside.wire.quarantine import MOST_LISTED, Quarantine, Settled, Settlement, SettleRequest

_MOST = 4096
"""Bytes of a request's body."""

_RIGHTS: dict[Settlement, Right] = {"restore": "verify", "fetch": "verify", "remove": "delete"}


class Kept:
    """Everything in quarantine."""

    def __init__(self, settings: Settings, database: Database, access: Access) -> None:
        self._settings = settings
        self._database = database
        self._access = access

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """What the token covers of it, with what this node knows of good copies elsewhere."""
        is_covered = self._access.covers("list", _authorization(request))
        found = [
            each for each in entries(self._settings, self._database) if is_covered(each.attributes)
        ]
        listed = (described(self._settings, self._database, each) for each in found[:MOST_LISTED])
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = Quarantine(files=tuple(listed), total=len(found)).model_dump_json()


class Settling:
    """One thing in quarantine, to be settled. One at a time: the disk is there for uploads."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        access: Access,
        health: NodeHealth,
        key: SigningKey,
    ) -> None:
        self._settings = settings
        self._database = database
        self._access = access
        self._health = health
        self._settler = Settler(settings, database, key)
        self._busy = threading.Lock()

    def on_post(self, request: falcon.Request, response: falcon.Response, kept_id: str) -> None:
        """200 once it is settled; 202 where the worker is to fetch it."""
        wish = _wish(request)
        entry = self._entry(kept_id)
        if not self._access.covers(_RIGHTS[wish.by], _authorization(request))(entry.attributes):
            raise ProblemError("right-missing", "the token is not for this file")
        if reasons := self._health.reasons():
            raise ProblemError("read-only", "this node settles nothing: " + "; ".join(reasons))
        with storage_problems(self._health):
            settled = self._settled(entry, wish, request.env["gunicorn.socket"])
        response.status = falcon.HTTP_202 if settled.outcome == "ordered" else falcon.HTTP_200
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = settled.model_dump_json()

    def _entry(self, kept_id: str) -> Entry:
        try:
            return one(self._settings, self._database, kept_id)
        except UnknownEntry:
            raise ProblemError("not-found", "nothing in quarantine has this id") from None

    def _settled(self, entry: Entry, wish: SettleRequest, listener: socket.socket) -> Settled:
        if not self._busy.acquire(blocking=False):
            raise ProblemError("no-slot", "something else is being settled: try again later")
        settler = replace(self._settler, pace=partial(_go_on, listener))
        told = partial(Settled, kept_id=entry.kept_id)
        try:
            match wish.by:
                case "restore":
                    return told(outcome="restored", detail=settler.restore(entry))
                case "fetch":
                    return told(outcome="ordered", detail=self._ordered(entry))
                case "remove":
                    known = described(self._settings, self._database, entry)
                    done = settler.remove(entry, wish.accept_loss, known.backed_up)
                    return told(outcome="removed", detail=done)
        except Unsettled as error:
            raise ProblemError("not-settled", str(error)) from None
        finally:
            self._busy.release()

    def _ordered(self, entry: Entry) -> str:
        """The web side has no network: the worker fetches what is noted down."""
        if entry.attributes is None or entry.kept_as == "left-over":
            raise Unsettled("there is nothing to fetch: it can only be removed")
        self._database.take_note(ORDER_KEY + entry.kept_id, "")
        return "the worker fetches it: the list tells how that goes"


def _go_on(listener: socket.socket, read: int) -> None:
    need_listener(listener)


def _wish(request: falcon.Request) -> SettleRequest:
    length = request.content_length
    if length is None or length > _MOST:
        raise ProblemError("malformed-request", f"send a JSON body of at most {_MOST} bytes")
    try:
        return SettleRequest.model_validate_json(request.bounded_stream.read(length))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ProblemError("malformed-request", f"{where}: {first['msg']}") from None


def _authorization(request: falcon.Request) -> str:
    return request.get_header("Authorization", default="")
