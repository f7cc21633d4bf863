"""`/api/v1/usage` and `/api/v1/quotas`: what owners and apps have, and what they may have."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import falcon

from control.api.requests import json_body
from control.api.requests.resource import Resource
from control.cluster import quotas
from control.cluster.quotas import Holder
from control.files import usage_pages
from control.problems import ProblemError
from portside.web.resources import answers_head
from portside.wire import spellings
from portside.wire.fields import APP_ID_PATTERN
from portside.wire.status import QuotaWish, UsageQuery


@answers_head
class UsagePages(Resource):
    """What there is."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """A page of owners or apps, those with the most bytes first."""
        caller = self._access.need(request, "read")
        wanted = json_body.query(request, UsageQuery)
        json_body.answer(
            response,
            self._database.read(
                lambda session: usage_pages.find(
                    session, self._settings.quotas, wanted, caller.reach
                )
            ),
        )


class _Quotas(Resource, ABC):
    """What somebody may have: an operator says so, and nobody else."""

    def _get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        self._access.need(request, "admin")
        self._tell(response, self._holder(request, name))

    def _put(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        caller = self._access.need(request, "admin")
        holder = self._holder(request, name)
        wish = json_body.parse(request, QuotaWish)
        self._database.write(
            lambda session: quotas.change(session, holder, wish, caller.app.app_id)
        )
        self._tell(response, holder)

    def _delete(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        caller = self._access.need(request, "admin")
        holder = self._holder(request, name)
        self._database.write(lambda session: quotas.unset(session, holder, caller.app.app_id))
        self._tell(response, holder)

    @abstractmethod
    def _holder(self, request: falcon.Request, name: str) -> Holder:
        """Whose quota the path names. Raises ProblemError."""

    def _tell(self, response: falcon.Response, holder: Holder) -> None:
        json_body.answer(
            response,
            self._database.read(
                lambda session: quotas.look_up(session, self._settings.quotas, holder)
            ),
        )


@answers_head
class OwnerQuotas(_Quotas):
    """What an owner may have, in each app."""

    def on_get(self, request: falcon.Request, response: falcon.Response, owner: str) -> None:
        """What is in force."""
        self._get(request, response, owner)

    def on_put(self, request: falcon.Request, response: falcon.Response, owner: str) -> None:
        """Set anew: sessions are held to it from now on, and nothing that is there is taken."""
        self._put(request, response, owner)

    def on_delete(self, request: falcon.Request, response: falcon.Response, owner: str) -> None:
        """As the cluster file has it again."""
        self._delete(request, response, owner)

    def _holder(self, request: falcon.Request, name: str) -> Holder:
        if "//" in request.env["PATH_INFO"].strip("/"):
            # Read as one (`control.api.requests.conventions`), it would be another owner's.
            raise ProblemError(
                "malformed-request",
                "this path has two slashes in a row: leave one out; the quota of an owner whose id "
                "has them is said in the cluster file",
            )
        try:
            return "owner", str(spellings.owner(name))
        except ValueError as refused:
            raise ProblemError("malformed-request", f"owner: {refused}") from None


@answers_head
class AppQuotas(_Quotas):
    """What all owners of an app may have together."""

    def on_get(self, request: falcon.Request, response: falcon.Response, app_id: str) -> None:
        """What is in force."""
        self._get(request, response, app_id)

    def on_put(self, request: falcon.Request, response: falcon.Response, app_id: str) -> None:
        """Set anew: sessions are held to it from now on, and nothing that is there is taken."""
        self._put(request, response, app_id)

    def on_delete(self, request: falcon.Request, response: falcon.Response, app_id: str) -> None:
        """As the cluster file has it again."""
        self._delete(request, response, app_id)

    def _holder(self, request: falcon.Request, name: str) -> Holder:
        if not _APP_ID.fullmatch(name):
            raise ProblemError("not-found", f"{spellings.shown(name)} is no name of an app")
        return "app", name


_APP_ID = re.compile(APP_ID_PATTERN)
