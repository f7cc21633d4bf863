"""`/api/v1/moves`: plan, begin, look at, pause, resume and cancel moves between pools."""

from __future__ import annotations

import falcon
from sqlalchemy.orm import Session

from control.api.requests import json_body
from control.api.requests.resource import Resource, Services
from control.moves import service
from control.moves.rules import Command
from portside.web.resources import answers_head
from portside.wire.moves import MoveRequest, MoveView, MoveViews


@answers_head
class Moves(Resource):
    """Every move, and each."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The moves, newest first."""
        self._access.need(request, "read")
        found = self._database.read(lambda session: service.views(session, self._clock()))
        json_body.answer(response, MoveViews(moves=tuple(found)))

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """201 with the move; with `dry_run` 200 with what it would do."""
        caller = self._access.need(request, "admin")
        wish = json_body.parse(request, MoveRequest)
        if wish.dry_run:
            plan = self._database.read(
                lambda session: service.plan(
                    session, self._snapshots, self._settings, wish, self._clock()
                )
            )
            json_body.answer(response, plan)
            return

        def create(session: Session) -> MoveView:
            move = service.create(
                session, self._snapshots, self._settings, wish, caller.app.app_id, self._clock()
            )
            return service.view(session, move.move_id, self._clock())

        json_body.answer(response, self._database.write(create), 201)

    def on_get_one(self, request: falcon.Request, response: falcon.Response, move_id: str) -> None:
        """One move, with files that it couldn't move."""
        self._access.need(request, "read")
        json_body.answer(
            response,
            self._database.read(lambda session: service.view(session, move_id, self._clock())),
        )


class MoveCommands(Resource):
    """Tell a move to pause, to go on or to end."""

    def __init__(self, services: Services, wish: Command) -> None:
        super().__init__(services)
        self._wish = wish

    def on_post(self, request: falcon.Request, response: falcon.Response, move_id: str) -> None:
        """The move as it is now. The same wish twice changes nothing."""
        self._access.need(request, "admin")

        def command(session: Session) -> MoveView:
            service.command(session, move_id, self._wish, self._clock())
            return service.view(session, move_id, self._clock())

        json_body.answer(response, self._database.write(command))
