"""`/api/v1/files/<id>`: what a node knows of a file it holds."""

from __future__ import annotations

import falcon

from agent.index import Index
from agent.problems import ProblemError


class File:
    """A committed file's attributes."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def on_get(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The attributes and the receipt, as the upload's own answer had them."""
        stored = self._index.find(file_id)
        if stored is None:
            raise ProblemError("not-found", "this node holds no file with this id")
        response.content_type = falcon.MEDIA_JSON
        response.text = stored.model_dump_json()
