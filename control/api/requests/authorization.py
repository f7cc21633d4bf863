"""Who asks, by the API key in the Authorization header, and what that key is good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import falcon

from control.cluster import api_keys
from control.cluster.api_keys import Scope
from control.cluster.key_use import KeyUse
from control.cluster.reach import NOTHING, Reach
from control.cluster.read_model import KnownApp
from control.cluster.snapshot import Snapshots
from control.problems import ProblemError
from portside.web.authorization import bearer
from portside.web.wrong_credentials import WrongCredentials


@dataclass(frozen=True, slots=True)
class Caller:
    """An app whose key was right."""

    app: KnownApp

    @property
    def is_admin(self) -> bool:
        """Whether it may see and do everything."""
        return "admin" in self.app.scopes

    @property
    def reach(self) -> Reach:
        """Whose files it may see."""
        return self.app.reach


class Access:
    """Decisions by API key. Each raises ProblemError."""

    def __init__(
        self,
        snapshots: Snapshots,
        wrong: WrongCredentials,
        use: KeyUse,
        clock: Callable[[], datetime],
    ) -> None:
        self._snapshots = snapshots
        self._wrong = wrong
        self._use = use
        self._clock = clock

    def need(self, request: falcon.Request, *scopes: Scope) -> Caller:
        """Who asks, who must have one of these scopes, or `admin`."""
        caller = self.caller(request)
        if caller is None:
            raise ProblemError("key-missing", _how_to_send(request))
        if caller.app.scopes.isdisjoint((*scopes, "admin")):
            raise ProblemError(
                "scope-missing", f"this needs an API key with the scope {' or '.join(scopes)}"
            )
        return caller

    def reading(self, request: falcon.Request) -> Reach:
        """The private files that who asks may read."""
        caller = self.caller(request)
        if caller is None or caller.app.scopes.isdisjoint({"read", "admin"}):
            return NOTHING
        return caller.reach

    def caller(self, request: falcon.Request) -> Caller | None:
        """Who asks; None without a key."""
        key = bearer(request.auth)
        if key is None:
            return None
        # What is compared is a digest of what was sent: its timing tells nothing of the key.
        digest = api_keys.digest(key)
        app = self._snapshots.current().apps.get(digest)
        if app is None:
            # It may be new: the database is asked, unless whoever sends it tries one after another.
            self._wrong.check(request)
            app = self._snapshots.app(digest)
        if app is None:
            raise ProblemError("key-unknown", _what_it_is(key))
        self._use.seen(digest, self._clock())
        return Caller(app)


def _how_to_send(request: falcon.Request) -> str:
    """What to send instead of what came, which has no API key where one is read."""
    if request.get_header("X-API-Key") is not None:
        return "X-API-Key isn't read here: send the key as 'Authorization: Bearer <API key>'"
    if request.auth:
        return "the Authorization header is no Bearer one: send 'Authorization: Bearer <API key>'"
    return "send 'Authorization: Bearer <API key>'"


def _what_it_is(key: str) -> str:
    # A JWT has two dots (RFC 7515, section 7.1), an API key none.
    if key.count(".") == _DOTS_OF_TOKENS:
        return f"this is a token for nodes, no API key: those begin with {api_keys.KEY_PREFIX!r}"
    return "this API key isn't known here, or it has ended"


_DOTS_OF_TOKENS = 2
