"""What comes in and goes out as JSON: checked once, with a problem that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import falcon
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from control.problems import ProblemError
from portside.wire.base import Request
from portside.wire.spellings import shown

LARGEST = 1 << 20
"""Bytes of a request's body: heartbeats with much work are the largest."""

_MOST_TOLD = 5
"""Mistakes of one request that are told in words; of others only how many there are."""

_Model = TypeVar("_Model", bound=Request)


def read(request: falcon.Request) -> bytes:
    """A request's body as it came. Raises ProblemError."""
    length = request.content_length
    if length is None:
        raise ProblemError("malformed-request", "send a body, with its Content-Length")
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
    return _valid(model, _json(request))


def query(request: falcon.Request, model: type[_Model]) -> _Model:
    """A request's query. Raises ProblemError."""
    return _valid(model, request.params)


def answer(response: falcon.Response, body: BaseModel, status: int = 200) -> None:
    """A model as the answer: of now, for whoever asked."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.set_header("Cache-Control", "no-store")
    response.text = body.model_dump_json()


def _json(request: falcon.Request) -> Any:
    """The value that a body holds (RFC 8259), without what JSON leaves open.

    `curl -d` and some libraries send JSON under a form's type: what reads as JSON is taken as such.
    """
    coding = (request.get_header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        # RFC 9110, section 15.5.16.
        raise ProblemError(
            "media-type",
            f"send the body as it is, without Content-Encoding {shown(coding)}",
            {"Accept-Encoding": "identity"},
        )
    body = read(request)
    try:
        # A byte order mark may be passed over (RFC 8259, section 8.1): PowerShell writes one.
        return _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        said = (request.content_type or "").partition(";")[0].strip().lower()
        if said and said != falcon.MEDIA_JSON and not said.endswith("+json"):
            raise ProblemError(
                "media-type",
                f"send JSON with 'Content-Type: application/json', not {shown(said)}",
                {"Accept": falcon.MEDIA_JSON},
            ) from None
        raise ProblemError("malformed-request", _why_no_json(body, error)) from None


def _why_no_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty: send a JSON object"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8: send JSON in UTF-8 (RFC 8259)"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply: send one JSON object"
    if isinstance(error, json.JSONDecodeError):
        return f"Invalid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    return f"Invalid JSON: {error}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two alike nobody knows which one counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is there twice: give it once")
        found[name] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number: leave the field out, or give null")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def _valid(model: type[_Model], value: Any) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ProblemError("malformed-request", _in_words(model, error)) from None


def _in_words(model: type[_Model], error: ValidationError) -> str:
    # pydantic's own numbers and patterns are for programmers of ours.
    told = list(dict.fromkeys(_each_in_words(model, error)))
    more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    return "; ".join(told[:_MOST_TOLD]) + more


def _each_in_words(model: type[_Model], error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_input=False, include_url=False):
        where = ".".join(_printable(str(part)) for part in each["loc"])
        what = _what(model, each)
        yield f"{where}: {what}" if where else what


def _what(model: type[_Model], each: ErrorDetails) -> str:
    if each["type"] == "extra_forbidden":
        return f"is not known here: known are {model.known_names()}"
    if each["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "the body should be an object: send JSON as {...}"
    if each["type"] == "tuple_type":
        return "should be a list"
    field = model.model_fields.get(str(each["loc"][0])) if each["loc"] else None
    if each["type"] == "string_pattern_mismatch" and field is not None and field.description:
        return f"doesn't fit: {field.description}"
    return each["msg"].removeprefix("Value error, ")


def _printable(name: str) -> str:
    """A field's name as its sender wrote it, short and fit for UTF-8."""
    return name if name.isprintable() and len(name) <= 60 else shown(name)
