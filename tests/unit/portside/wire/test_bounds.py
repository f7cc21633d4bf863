"""What another machine sends has an end: every number, text and list of every message."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError

import control.db.replica
import portside.wire
from portside.wire import bounds
from portside.wire.claims import UploadClaims
from portside.wire.heartbeat import Heartbeat, HeartbeatAnswer
from tests.support.control.cluster import FakeNodes
from tests.support.minting import upload_claims

_BEYOND_ALL = 1 << 20
"""Characters that a text's pattern may match at most: as many as a body may have."""


def models() -> list[type[BaseModel]]:
    """Every model that is read off a network or a socket."""
    modules = [control.db.replica]
    for found in pkgutil.iter_modules(portside.wire.__path__):
        modules.append(importlib.import_module(f"portside.wire.{found.name}"))
    return sorted(
        {
            each
            for module in modules
            for each in vars(module).values()
            # What is one of several models is checked as each of these.
            if isinstance(each, type) and issubclass(each, BaseModel)
            if not issubclass(each, RootModel)
        }
        - {BaseModel},
        key=lambda model: model.__name__,
    )


def unbounded(schema: dict[str, Any], where: str) -> Iterator[str]:
    """The places below a core schema whose values have no end, in words."""
    kind = schema["type"]
    if kind in ("model", "definition-ref"):
        # A model of its own is looked at as such.
        return
    if kind == "int" and not (_has(schema, "ge", "gt") and _has(schema, "le", "lt")):
        yield f"{where}: a whole number"
    elif kind == "float" and (
        schema.get("allow_inf_nan", True)
        or not (_has(schema, "ge", "gt") and _has(schema, "le", "lt"))
    ):
        yield f"{where}: a number"
    elif kind == "str" and not (_has(schema, "max_length") or _ends(schema.get("pattern"))):
        yield f"{where}: a text"
    elif kind == "dict" and not _has(schema, "max_length"):
        yield f"{where}: a dict"
    elif (
        kind in ("list", "set", "frozenset")
        or (kind == "tuple" and "variadic_item_index" in schema)
    ) and not (_has(schema, "max_length") and schema.get("fail_fast")):
        yield f"{where}: a list"
    elif kind in ("any", "decimal", "bytes", "generator"):
        yield f"{where}: {kind}"
    elif kind == "datetime":
        yield f"{where}: a moment"
    elif kind == "lax-or-strict":
        yield f"{where}: a path"
    for inner in _inside(schema):
        yield from unbounded(inner, where)


_CHECKED_BY_HAND = {"_of_these_ages", "_short", "_stays_below"}
"""Functions of `portside.wire.bounds` that bound what pydantic has no bounds for."""


def _inside(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    function = schema.get("function", {})
    called = function.get("function") if isinstance(function, dict) else function
    if getattr(called, "__name__", "") in _CHECKED_BY_HAND:
        return
    for key in ("schema", "values_schema", "keys_schema"):
        if isinstance(inner := schema.get(key), dict):
            yield inner
    items = schema.get("items_schema", ())
    yield from [items] if isinstance(items, dict) else items
    for choice in schema.get("choices", ()):
        yield choice[0] if isinstance(choice, tuple) else choice


def _has(schema: dict[str, Any], *names: str) -> bool:
    return any(schema.get(name) is not None for name in names)


def _ends(pattern: Any) -> bool:
    """Whether a pattern is of the whole text, and no text without an end matches it."""
    return (
        isinstance(pattern, str)
        and pattern.startswith("^")
        and pattern.endswith("$")
        # How much a pattern matches at most, the standard library knows and tells nowhere else.
        and re._parser.parse(pattern).getwidth()[1] < _BEYOND_ALL
    )


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any]]]:
    schema: Any = model.__pydantic_core_schema__
    if schema["type"] == "definitions":
        schema = schema["schema"]
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    for name, field in schema["fields"].items():
        yield f"{model.__name__}.{name}", field["schema"]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_that_is_read_off_a_network_has_bounds(model: type[BaseModel]) -> None:
    assert [each for where, schema in _fields(model) for each in unbounded(schema, where)] == []


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_no_field_has_a_bound_that_its_type_replaces(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        for kind, narrowest in (
            ("ge", max),
            ("gt", max),
            ("le", min),
            ("lt", min),
            ("max_length", min),
        ):
            told = [
                found for each in field.metadata if (found := getattr(each, kind, None)) is not None
            ]
            # Of several the last one counts.
            assert not told or told[-1] == narrowest(told), f"{model.__name__}.{name}: {kind}"


@pytest.mark.parametrize(
    "annotation",
    (
        *(int, float, str, datetime, PurePosixPath, Any, tuple[bool, ...], list[bool]),
        *(dict[bounds.Label, bool], str | None, tuple[bounds.Label | str, bool]),
    ),
)
def test_a_field_without_bounds_would_be_found(annotation: Any) -> None:
    schema: Any = TypeAdapter(annotation).core_schema
    assert list(unbounded(schema, "field"))


# -- what that means -------------------------------------------------------------------------------


BEAT = FakeNodes().heartbeat("s01", datetime.now(UTC)).model_dump(mode="json")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("load", text) for text in ("NaN", "Infinity", "-Infinity", "1e400", "1e300", "true")),
        *(("disk_free", text) for text in ("1180591620717411303424", "-1", "NaN", "1.5", "true")),
        *(("version", text) for text in (r'"a\u0000b"', r'"\ud800"', f'"{"a" * 5000}"', "[]")),
        *(("sent_at", text) for text in ('"0001-01-01T00:00:00+23:59"', '"2026-01-01T00:00:00"')),
        ("work", "[" + ",".join(['{"lease_id":"a","outcome":"done"}'] * 3000) + "]"),
        ("reasons", "[" * 100_000),
        ("quarantined", '[{"file_id":"' + "0" * 32 + '","path":"\\u0000","size":1,"reason":""}]'),
    ],
)
def test_a_heartbeat_with_a_figure_that_breaks_is_none(field: str, text: str) -> None:
    fields = {name: TypeAdapter(Any).dump_json(value).decode() for name, value in BEAT.items()}
    body = ",".join(f'"{name}":{text}' for name, text in {**fields, field: text}.items())
    with pytest.raises(ValidationError):
        Heartbeat.model_validate_json(f"{{{body}}}")


@pytest.mark.parametrize("claim", ["iat", "nbf", "exp", "session_deadline"])
@pytest.mark.parametrize("value", [2**62, 2**70, -(2**70), float("inf"), float("nan"), True, "x"])
def test_a_token_of_no_time_is_none(claim: str, value: object) -> None:
    said = upload_claims("lab", "s01", {"namespace": "isos"}).model_dump(mode="json")
    with pytest.raises(ValidationError):
        UploadClaims.model_validate({**said, claim: value})


def test_a_control_plane_cannot_fill_a_nodes_memory() -> None:
    for field, entry in (("revoked", "a" * 8), ("work", {})):
        with pytest.raises(ValidationError):
            HeartbeatAnswer.model_validate(
                {"now": "2026-01-01T00:00:00Z", field: [entry] * 1_000_000}
            )
    for next_in in (-1, 1e9, float("nan")):
        with pytest.raises(ValidationError):
            HeartbeatAnswer.model_validate({"now": "2026-01-01T00:00:00Z", "next_in": next_in})


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\x00b", "a" * 1300])
def test_a_path_leads_nowhere_else(path: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(bounds.StoredPath).validate_python(path)


def test_what_is_sent_today_is_within_the_bounds() -> None:
    nodes = FakeNodes([f"s{number}" for number in range(1000)])
    assert HeartbeatAnswer(now=datetime.now(UTC), roster=nodes.roster()).roster
    assert Heartbeat.model_validate(BEAT).node_id == "s01"
