"""`/api/v1/files`: finding, describing, reading, verifying and deleting what a node holds."""

from __future__ import annotations

import json
import select
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

import falcon
from pydantic import ValidationError

from agent.api.authorization import Access, plain_path
from agent.cluster.roster import Rosters
from agent.incoming.request_head import path_of
from agent.index.database import Database
from agent.index.files import name_taken
from agent.index.search import Known, look_up, look_up_path, search, with_copies
from agent.problems import ProblemError
from agent.settings import Settings
from agent.storage import ending
from agent.storage.commit import of_index
from agent.storage.deletion import delete
from agent.storage.staging import DiskFailed, DiskFull
from agent.storage.verification import Verifier
from agent.telemetry.health import NodeHealth
from portside.cluster.lifetimes import end_of, has_ended
from portside.content import SCRIPT_EXTENSIONS, extension_of
from portside.web.authorization import bearer
from portside.web.redirects import (
    NO_STORE,
    TOKEN,
    content_policy,
    is_saved,
    query_value,
    resumed_content,
)
from portside.web.request_log import Answered
from portside.web.wrong_credentials import WrongCredentials
from portside.wire import paths
from portside.wire.base import Request
from portside.wire.files import FileQuery, LifetimeChange, StoredFile
from portside.wire.problem import in_words

CONTENT_LOCATION = "/_stored/"
"""nginx's internal name for the folder of uploads (templates/nginx/downloads.conf.j2)."""

_Query = TypeVar("_Query", bound=Request)

_SHOWN = ("image/", "audio/", "video/")
_SHOWN_TYPES = ("text/plain", "application/pdf")
_SCRIPTABLE = "+xml"
"""SVG and its like (RFC 7303, section 4.2): browsers run the scripts in them."""


MOST_CHANGE = 4096
"""Bytes of a change's body at most."""


class Files:
    """The files a node holds."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """A page of those that fit the query, newest first."""
        query, file_id = self._access.narrowed(
            query_of(request, FileQuery), authorization_of(request)
        )
        page = search(self._database, query, file_id)
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = page.model_dump_json()


class File:
    """One file: its attributes, or its end."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        access: Access,
        health: NodeHealth,
        rosters: Rosters,
    ) -> None:
        self._rosters = rosters
        self._settings = settings
        self._database = database
        self._access = access
        self._health = health

    def on_get(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The attributes and the receipt, as the upload's own answer had them, and the copies."""
        known = _known(self._database, file_id)
        self._access.look_at(known.stored, authorization_of(request))
        stored = _in_service(known)
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", _cache_control(self._access, stored))
        response.text = with_copies(self._database, stored).model_dump_json()

    def on_head(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """See on_get."""
        self.on_get(request, response, file_id)

    def on_patch(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """When this copy ends from now on: whoever may delete it may say so."""
        known = _known(self._database, file_id)
        self._access.need("delete", known.stored, authorization_of(request))
        if self._rosters.current().control_url is not None:
            raise ProblemError(
                "lifetime-elsewhere",
                "here the control plane says when files end: send this to its "
                f"{paths.FILES}/{file_id}",
            )
        if known.state in ("DELETING", "DELETED"):
            raise file_deleted()
        expires_at = self._moment_for(request, known.stored)
        reasons = self._health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node changes no files: " + "; ".join(reasons))
        with storage_problems(self._health):
            try:
                changed = ending.change(self._settings, self._database, file_id, expires_at)
            except FileExistsError:
                raise name_taken(known.stored.path) from None
        if changed is None:
            raise file_deleted()
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = with_copies(self._database, changed).model_dump_json()

    def _moment_for(self, request: falcon.Request, stored: StoredFile) -> int | None:
        """The moment that is asked for, allowed in the file's namespace. Raises ProblemError."""
        now = datetime.now(UTC)
        expires_at = _change(request).moment(now)
        longest = self._settings.lifetimes.longest.get(stored.namespace)
        latest = end_of(stored.committed_at, longest)
        if latest is not None and (expires_at is None or expires_at > latest):
            raise ProblemError(
                "lifetime-refused",
                f"files of {stored.namespace!r} live {longest} seconds at most: this one may end "
                f"at {latest} (Unix seconds) or earlier",
            )
        return expires_at

    def on_delete(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """Delete it, durably. Deleting it again is no mistake: it is gone, as was wanted."""
        known = _known(self._database, file_id)
        self._access.need("delete", known.stored, authorization_of(request))
        reasons = self._health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node deletes no files: " + "; ".join(reasons))
        with storage_problems(self._health):
            # It stays with the tombstone: the copies elsewhere go by its word, not by this node's.
            order = bearer(authorization_of(request))
            delete(self._settings, self._database, file_id, order)
        response.status = falcon.HTTP_204


class Content:
    """A file's bytes, which nginx sends: the agent says only which they are."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def on_get(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The headers, and where nginx finds the rest; ranges are nginx's."""
        known = _known(self._database, file_id)
        token = query_value(request.query_string, TOKEN)
        self._access.download(
            known.stored, authorization_of(request), token, resumed_content(request)
        )
        send_content(self._access, _in_service(known), response, request.query_string)

    def on_head(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """See on_get."""
        self.on_get(request, response, file_id)


class Verify:
    """Reading a file again to see that it is what it was."""

    def __init__(
        self, database: Database, access: Access, verifier: Verifier, health: NodeHealth
    ) -> None:
        self._database = database
        self._access = access
        self._verifier = verifier
        self._health = health

    def on_post(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """Verify it now and answer when all of it is read. What is damaged is quarantined."""
        known = _known(self._database, file_id)
        self._access.need("verify", known.stored, authorization_of(request))
        stored = _in_service(known)
        connection: socket.socket = request.env["gunicorn.socket"]
        with storage_problems(self._health):
            found = self._verifier.verify(stored, lambda read: need_listener(connection))
        if not found.intact:
            _must_not_be_deleted(_known(self._database, file_id))
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = found.model_dump_json()

    def on_get(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """See on_post."""
        self.on_post(request, response, file_id)


class DownloadProbe:
    """nginx's question before it sends a private namespace's file: 204 is yes, 403 is no.

    As with an upload's preflight the answer travels in headers: nginx drops a refusal's body.
    """

    def __init__(self, database: Database, access: Access, wrong: WrongCredentials) -> None:
        self._database = database
        self._access = access
        self._wrong = wrong

    def _must_not_have_ended(self, uri: str) -> None:
        """Of what isn't at that very path nginx asks further."""
        stored = look_up_path(self._database, plain_path(uri))
        if stored is not None and has_ended(stored.expires_at, time.time()):
            raise file_expired()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Decide about the request whose target is in `X-Original-URI`. Nothing is written."""
        uri = request.get_header("X-Original-URI", default="")
        try:
            token = query_value(uri.partition("?")[2], TOKEN)
            self._access.download_by_url(
                uri, authorization_of(request), token, resumed_content(request)
            )
            self._must_not_have_ended(uri)
            must_not_be_held(look_up_path(self._database, plain_path(uri)))
            response.status = falcon.HTTP_204
        except ProblemError as found:
            problem = self._wrong.judged(request, found)
            path = path_of(uri)
            response.context.answered = Answered("GET", path, problem.status, problem.slug)
            response.status = falcon.HTTP_403
            response.set_headers(problem.headers)
            document = problem.document(path).model_dump(exclude_none=True)
            response.set_header("X-Refusal-Status", str(problem.status))
            # json escapes everything that isn't ASCII: a name in it must not break the header.
            response.set_header("X-Refusal", json.dumps(document))


def send_content(access: Access, stored: StoredFile, response: falcon.Response, query: str) -> None:
    """The headers of a file's bytes, and where nginx finds the rest; ranges are nginx's.

    `query` is the request's: it may ask for the file to be saved. Raises ProblemError while it is
    held.
    """
    must_not_be_held(stored)
    response.content_type = stored.content_type
    response.set_header("Content-Disposition", disposition(stored, saved=is_saved(query)))
    response.set_header("Cache-Control", _cache_control(access, stored))
    response.set_header("X-Accel-Redirect", CONTENT_LOCATION + quote(str(stored.path)))


def disposition(stored: StoredFile, *, saved: bool = False) -> str:
    """Shown by a browser or saved, and under which name (RFC 6266, RFC 8187).

    What a browser could run in the node's origin is saved, and so is what it can't show, and what
    is to be `saved`. nginx has the same rule for `/uploads/` (templates/nginx/shown_as.lua.j2).
    """
    kind = stored.content_type.lower()
    harmless = _SCRIPTABLE not in kind and extension_of(stored.name) not in SCRIPT_EXTENSIONS
    shown = harmless and (kind.startswith(_SHOWN) or kind in _SHOWN_TYPES)
    plain = (c.isascii() and c.isprintable() and c not in '"\\' for c in stored.name)
    ascii_name = "".join(c if keep else "_" for c, keep in zip(stored.name, plain, strict=True))
    encoded = quote(stored.name, safe="")
    way = "inline" if shown and not saved else "attachment"
    return f"{way}; filename=\"{ascii_name}\"; filename*=UTF-8''{encoded}"


def _change(request: falcon.Request) -> LifetimeChange:
    body = request.bounded_stream.read(MOST_CHANGE + 1)
    if len(body) > MOST_CHANGE:
        raise ProblemError("malformed-request", "the body is longer than any such request")
    try:
        sent = json.loads(body)
        if not isinstance(sent, dict):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise ProblemError(
            "malformed-request", 'send a JSON object, as {"expires_in": "30d"}'
        ) from None
    try:
        return LifetimeChange.model_validate(sent)
    except ValidationError as error:
        raise ProblemError("malformed-request", in_words(error)) from None


def query_of(request: falcon.Request, model: type[_Query]) -> _Query:
    """The parameters of a request's query. Raises ProblemError, with the first mistake in them."""
    try:
        return model.model_validate(request.params)
    except ValidationError as error:
        first = error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        where = ".".join(str(part) for part in first["loc"])
        told = f"{where}: there is no such parameter" if unknown else in_words(error)
        raise ProblemError("malformed-request", told) from None


def authorization_of(request: falcon.Request) -> str:
    """The Authorization header; empty without one."""
    return request.get_header("Authorization", default="")


def _known(database: Database, file_id: str) -> Known:
    known = look_up(database, file_id)
    if known is None:
        raise ProblemError("not-found", "this node holds no file with this id")
    return known


def _in_service(known: Known) -> StoredFile:
    _must_not_be_deleted(known)
    if known.state == "QUARANTINED":
        raise file_damaged()
    must_not_have_ended(known)
    return known.stored


def _must_not_be_deleted(known: Known) -> None:
    if known.state in ("DELETING", "DELETED"):
        raise file_deleted()


def file_deleted() -> ProblemError:
    """The one answer to an id or a path whose file was deleted."""
    return ProblemError("file-deleted", "this file was deleted", headers=NO_STORE)


def must_not_have_ended(known: Known) -> None:
    """Raise ProblemError for a file whose time is over, whether it was moved away yet or not."""
    if known.state == "ENDED" or has_ended(known.stored.expires_at, time.time()):
        raise file_expired()


def file_expired() -> ProblemError:
    """The one answer to a file whose time is over."""
    return ProblemError("file-expired", "this file has come to its end", headers=NO_STORE)


def file_damaged() -> ProblemError:
    """The one answer to a file that is in quarantine."""
    return ProblemError("file-damaged", "this file was found damaged and is not served")


def must_not_be_held(stored: StoredFile | None) -> None:
    """Raise ProblemError for a file that is not to be served now."""
    if stored is not None and stored.held and stored.hold and stored.hold.scan == "infected":
        raise ProblemError(
            "infected",
            "a virus scanner has found something in this file: it is served to nobody",
            headers=NO_STORE,
        )
    if stored is not None and stored.held:
        raise ProblemError(
            "being-checked",
            "this file is being checked: it is served once it is released, come again later",
            headers=NO_STORE,
        )


def _cache_control(access: Access, stored: StoredFile) -> str:
    """An id stands for one content, but for as long as the file is there."""
    max_age = access.max_age(stored.namespace)
    if max_age and stored.expires_at is not None:
        # No cache shows it longer than it lives.
        max_age = max(0, min(max_age, stored.expires_at - int(time.time())))
    return content_policy(access.is_private(stored.namespace), max_age)


def need_listener(connection: socket.socket) -> None:
    """Raise ProblemError when whoever asked has hung up: nobody needs the answer."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    if poll.poll(0):
        raise ProblemError("body-cut", "the client has left")


@contextmanager
def storage_problems(health: NodeHealth) -> Iterator[None]:
    """Turns what the disk and the index raise into problems; what is final makes it read-only."""
    try:
        yield
    except (DiskFull, DiskFailed, sqlite3.Error) as error:
        failure = of_index(error, health.settings) if isinstance(error, sqlite3.Error) else error
        if isinstance(failure, DiskFull):
            raise ProblemError(
                "no-space", f"{failure}: it is tried again at the next start"
            ) from error
        if failure.final:
            health.fault("disk-failed", str(failure))
        raise ProblemError("storage-failed", str(failure)) from error
