"""`/f/<file id>/<name>`: the URL that a file keeps. It is answered with a redirect to a copy."""

from __future__ import annotations

import falcon

from control.api.files import id_of
from control.api.requests.resource import Resource, Services
from control.files import serving
from control.files.serving import Asked, Signing
from portside.web.redirects import (
    TOKEN,
    avoided,
    is_saved,
    query_value,
    redirect,
    resumed_content,
)
from portside.web.resources import answers_head


@answers_head
class Lasting(Resource):
    """One file, wherever it is. Its name is for people: a wrong one leads to the same file."""

    def __init__(self, services: Services, signing: Signing) -> None:
        super().__init__(services)
        self._signing = signing

    def on_get(
        self, request: falcon.Request, response: falcon.Response, file_id: str, name: str = ""
    ) -> None:
        """302 to a copy that can be reached."""
        query = request.query_string
        asked = Asked(
            id_of(file_id),
            name,
            avoided(query),
            query_value(query, TOKEN),
            self._access.reading(request),
            resumed_content(request),
            is_saved(query),
        )
        snapshot, now = self._snapshots.current(), self._clock()
        found = self._database.read(
            lambda session: serving.locate(
                session, snapshot, self._settings, self._signing, asked, now
            )
        )
        redirect(response, found.url, found.cache_control, found.surrogate_key)
