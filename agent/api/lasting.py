"""`/f/<file id>/<name>`: a file wherever it is; and what is said at an old path of one that left.

What is here nginx sends. What isn't, somebody else may have: the control plane knows, or where
there is none, the nodes that have this node's copies, and those that get copies by the roster. The
name in the URL is for people: a wrong one is served all the same, for a redirect to the right one
would cost a request and tell nothing that the id didn't.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

import falcon

from agent.api.authorization import Access, plain_path
from agent.api.files import (
    authorization_of,
    file_damaged,
    file_deleted,
    file_expired,
    must_not_be_held,
    must_not_have_ended,
    send_content,
)
from agent.api.spellings import spellings
from agent.cluster.rendezvous import ranked
from agent.cluster.roster import Rosters
from agent.incoming.request_head import path_of, query_of
from agent.index import former
from agent.index.database import Database
from agent.index.former import Former
from agent.index.search import copies_of, look_up, look_up_path
from agent.problems import ProblemError
from agent.settings import Settings
from portside.cluster.lifetimes import has_ended
from portside.web.app import answer_problem
from portside.web.redirects import (
    NO_STORE,
    TOKEN,
    avoided,
    is_saved,
    onward,
    query_value,
    redirect,
    redirect_policy,
    resumed_content,
)
from portside.wire import paths
from portside.wire.fields import FILE_ID_PATTERN
from portside.wire.files import StoredFile, surrogate_key

_SERVES = ("active", "readonly", "draining")


class Whereabouts:
    """Where clients are sent on to for files that aren't here."""

    def __init__(
        self, settings: Settings, database: Database, access: Access, rosters: Rosters
    ) -> None:
        self._own_id = settings.node_id
        self._database = database
        self._access = access
        self._rosters = rosters

    def lead_on(
        self, response: falcon.Response, query: str, file_id: str, name: str, namespace: str | None
    ) -> bool:
        """Redirect to whoever may have the file; False when there is nobody left to ask.

        `query` is the request's, `namespace` the file's where it is known.
        """
        avoid = avoided(query)
        base = next(self._elsewhere(file_id, avoid), None)
        if base is None:
            return False
        private = namespace is None or self._access.is_private(namespace)
        max_age = None if namespace is None else self._access.max_age(namespace)
        url = onward(
            paths.lasting_url(base, file_id, name),
            dict.fromkeys((*avoid, self._own_id)),
            query_value(query, TOKEN),
            saved=is_saved(query),
        )
        key = None if namespace is None else surrogate_key(file_id, namespace)
        redirect(response, url, redirect_policy(private, max_age), key)
        return True

    def _elsewhere(self, file_id: str, avoid: tuple[str, ...]) -> Iterator[str]:
        """Base URLs of those who may know more, the best first."""
        roster = self._rosters.current()
        if roster.control_url is not None:
            # Who comes from there and hasn't found it there either has been everywhere.
            if self._own_id not in avoid:
                yield roster.control_url
            return
        known = [roster.find(each.node_id) for each in copies_of(self._database, file_id)]
        likely = ranked(file_id, roster.nodes)[: roster.factor] if roster.factor > 1 else []
        for node in (*known, *likely):
            if (
                node is not None
                and node.state in _SERVES
                and node.node_id not in (*avoid, self._own_id)
            ):
                yield node.public_base_url


class Lasting:
    """The URL that a file keeps."""

    def __init__(self, database: Database, access: Access, whereabouts: Whereabouts) -> None:
        self._database = database
        self._access = access
        self._whereabouts = whereabouts

    def on_get(
        self, request: falcon.Request, response: falcon.Response, file_id: str, name: str = ""
    ) -> None:
        """The bytes, or where they are; 410 when it was deleted, 404 when it never was."""
        if not re.fullmatch(FILE_ID_PATTERN, file_id):
            raise _unknown()
        query = request.query_string
        known = look_up(self._database, file_id)
        gone = former.of_file(self._database, file_id) if known is None else None
        namespace: str | None = None
        if known is not None:
            self._access.download(
                known.stored,
                authorization_of(request),
                query_value(query, TOKEN),
                resumed_content(request),
            )
            if known.state in ("DELETING", "DELETED"):
                raise file_deleted()
            must_not_have_ended(known)
            namespace, name = known.stored.namespace, known.stored.name
            if known.state == "COMMITTED":
                send_content(self._access, known.stored, response, query)
                return
        elif gone is not None:
            namespace, name = _namespace(gone), gone.name
            if gone.fate == "deleted":
                self._must_be_allowed(request, gone)
                raise file_deleted()
        if not self._whereabouts.lead_on(response, query, file_id, name, namespace):
            raise _unknown() if known is None else file_damaged()

    def on_head(
        self, request: falcon.Request, response: falcon.Response, file_id: str, name: str = ""
    ) -> None:
        """See on_get."""
        self.on_get(request, response, file_id, name)

    def _must_be_allowed(self, request: falcon.Request, gone: Former) -> None:
        """That a private file was deleted is for those to hear who might have read it."""
        if self._access.is_private(_namespace(gone)):
            self._access.download_by_url(
                f"{paths.DIRECT}/{quote(gone.path)}",
                authorization_of(request),
                query_value(request.query_string, TOKEN),
            )


class Missing:
    """nginx's question what to say of a path below `/uploads/` at which it found nothing.

    For a private namespace it has asked before who may look.
    """

    def __init__(self, database: Database, access: Access, whereabouts: Whereabouts) -> None:
        self._database = database
        self._access = access
        self._whereabouts = whereabouts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The answer for the client, about the target in `X-Original-URI`."""
        uri = request.get_header("X-Original-URI", default="")
        path, query = path_of(uri), query_of(uri)
        try:
            self._must_not_be_held(uri)
            gone = self._former(uri)
            meant = None if gone is not None else self._meant(request, uri)
            if meant is not None:
                send_content(self._access, meant, response, query)
                return
            if gone is None or not self._whereabouts.lead_on(
                response, query, gone.file_id, gone.name, _namespace(gone)
            ):
                raise _unknown()
        except ProblemError as problem:
            answer_problem(request, response, problem, path)

    def on_head(self, request: falcon.Request, response: falcon.Response) -> None:
        """See on_get."""
        self.on_get(request, response)

    def _must_not_be_held(self, uri: str) -> None:
        """What is there and can't be opened by nginx is held."""
        try:
            path = plain_path(uri)
        except ProblemError:
            return
        must_not_be_held(look_up_path(self._database, path))

    def _meant(self, request: falcon.Request, uri: str) -> StoredFile | None:
        """The file that is here under another spelling of the path, for who may have it."""
        token = query_value(query_of(uri), TOKEN)
        for path in spellings(uri):
            stored = look_up_path(self._database, path)
            if stored is None:
                continue
            try:
                self._access.download(
                    stored, authorization_of(request), token, resumed_content(request)
                )
            except ProblemError:
                # Whether it is there shows only to who may have it.
                raise _unknown() from None
            if has_ended(stored.expires_at, time.time()):
                raise file_expired()
            return stored
        return None

    def _former(self, uri: str) -> Former | None:
        """What was at the path and may be elsewhere. Raises ProblemError when it was deleted."""
        try:
            path = plain_path(uri)
        except ProblemError:
            raise _unknown() from None
        gone = former.at_path(self._database, path)
        if gone is not None and gone.fate == "deleted":
            known = look_up(self._database, gone.file_id)
            if known is not None and known.state == "ENDED":
                raise file_expired()
            raise file_deleted()
        return gone


def _namespace(gone: Former) -> str:
    return PurePosixPath(gone.path).parts[0]


def _unknown() -> ProblemError:
    return ProblemError("not-found", "there is nothing at this path", headers=NO_STORE)
