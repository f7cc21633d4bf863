"""Who asks, by the API key in the Authorization header, and what that key is good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import falcon

from control.cluster import api_keys
from control.cluster.api_keys import Scope
from control.cluster.read_model import KnownApp
from control.cluster.snapshot import Snapshots
from control.problems import ProblemError
from portside.web.authorization import bearer


@dataclass(frozen=True, slots=True)
class Caller:
    """An app whose key was right."""

    app: KnownApp

    @property
    def is_admin(self) -> bool:
        """Whether it may see and do everything."""
        return "admin" in self.app.scopes

    @property
    def sees(self) -> str | None:
        """The app whose files it may see; None: everybody's."""
        return None if self.is_admin else self.app.app_id


class Access:
    """Decisions by API key. Each raises ProblemError."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

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

    def reading(self, request: falcon.Request) -> Callable[[str | None], bool]:
        """Whether who asks may read private files of an app's (None: of nobody's)."""
        caller = self.caller(request)
        if caller is None or caller.app.scopes.isdisjoint({"read", "admin"}):
            return lambda app_id: False
        return lambda app_id: caller.sees in (None, app_id)

    def caller(self, request: falcon.Request) -> Caller | None:
        """Who asks; None without a key."""
        key = bearer(request.auth)
        if key is None:
            return None
        # What is compared is a digest of what was sent: its timing tells nothing of the key.
        app = self._snapshots.app(api_keys.digest(key))
        if app is None:
            raise ProblemError("key-unknown", _what_it_is(key))
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
    return "this API key isn't known here, or it was revoked"


_DOTS_OF_TOKENS = 2
