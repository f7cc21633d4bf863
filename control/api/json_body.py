"""What comes in and goes out as JSON: checked once, with a problem that says what is wrong."""

from __future__ import annotations

from typing import TypeVar

import falcon
from pydantic import BaseModel, ValidationError

from control.problems import ProblemError

LARGEST = 1 << 20
"""Bytes of a request's body: heartbeats with much work are the largest."""

_Model = TypeVar("_Model", bound=BaseModel)


def read(request: falcon.Request) -> bytes:
    """A request's body as it came. Raises ProblemError."""
    length = request.content_length
    if length is None:
        raise ProblemError("malformed-request", "send a body with a Content-Length")
    if length > LARGEST:
        raise ProblemError("body-too-large", f"a request here has at most {LARGEST} bytes")
    body = request.bounded_stream.read(length)
    if len(body) != length:
        raise ProblemError(
            "malformed-request", f"the body ended after {len(body)} of {length} bytes"
        )
    return bytes(body)


def parse(request: falcon.Request, model: type[_Model]) -> _Model:
    """A request's body as what it is meant to be. Raises ProblemError."""
    try:
        return model.model_validate_json(read(request))
    except ValidationError as error:
        raise _problem(error) from None


def query(request: falcon.Request, model: type[_Model]) -> _Model:
    """A request's query. Raises ProblemError."""
    try:
        return model.model_validate(request.params)
    except ValidationError as error:
        raise _problem(error) from None


def answer(response: falcon.Response, body: BaseModel, status: int = 200) -> None:
    """A model as the answer: of now, for whoever asked."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.set_header("Cache-Control", "no-store")
    response.text = body.model_dump_json()


def _problem(error: ValidationError) -> ProblemError:
    listed = []
    for each in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in each["loc"])
        what = each["msg"].removeprefix("Value error, ")
        listed.append(f"{where}: {what}" if where else what)
    return ProblemError("malformed-request", "; ".join(listed[:5]))
