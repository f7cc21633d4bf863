"""`/api/v1/pools`: places on nodes, made, set and deleted by operators."""

from __future__ import annotations

import falcon

from control.api.requests import json_body
from control.api.requests.resource import Resource
from control.nodes import pools
from portside.web.resources import answers_head
from portside.wire.control import NewPool, PoolSettings


@answers_head
class Pools(Resource):
    """Every pool, and each."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The pools with their settings in force."""
        self._access.need(request, "read")
        json_body.answer(response, pools.every_pool(self._snapshots.current()))

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """201 with the new pool."""
        self._access.need(request, "admin")
        new = json_body.parse(request, NewPool)
        self._database.write(lambda session: pools.create_pool(session, new))
        self._snapshots.forget()
        json_body.answer(response, pools.one_pool(self._snapshots.current(), new.pool_id), 201)

    def on_get_one(self, request: falcon.Request, response: falcon.Response, pool_id: str) -> None:
        """One pool."""
        self._access.need(request, "read")
        json_body.answer(response, pools.one_pool(self._snapshots.current(), pool_id))

    def on_put_one(self, request: falcon.Request, response: falcon.Response, pool_id: str) -> None:
        """Its settings anew: what isn't given is the node's again."""
        self._access.need(request, "admin")
        wanted = json_body.parse(request, PoolSettings)
        self._database.write(lambda session: pools.set_pool(session, pool_id, wanted))
        self._tell_anew(response, pool_id)

    def on_patch_one(
        self, request: falcon.Request, response: falcon.Response, pool_id: str
    ) -> None:
        """What is given of its settings; null is "as the node's" again (RFC 7396)."""
        self._access.need(request, "admin")
        wanted = json_body.parse(request, PoolSettings)
        self._database.write(lambda session: pools.change_pool(session, pool_id, wanted))
        self._tell_anew(response, pool_id)

    def on_delete_one(
        self, request: falcon.Request, response: falcon.Response, pool_id: str
    ) -> None:
        """The pool as it was."""
        self._access.need(request, "admin")
        # As it is now, by this process's newest look.
        self._snapshots.forget()
        was = pools.one_pool(self._snapshots.current(), pool_id)
        self._database.write(lambda session: pools.delete_pool(session, pool_id))
        self._snapshots.forget()
        json_body.answer(response, was)

    def _tell_anew(self, response: falcon.Response, pool_id: str) -> None:
        """The pool as it has become."""
        self._snapshots.forget()
        json_body.answer(response, pools.one_pool(self._snapshots.current(), pool_id))
