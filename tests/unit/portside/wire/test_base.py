"""Requests: names that mean the same, null, and what nobody knows."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portside.wire.base import Request
from portside.wire.control import (
    FileReceipt,
    NewPool,
    NodeStateRequest,
    PoolSettings,
    SessionRequest,
)
from portside.wire.files import FileQuery
from portside.wire.moves import MoveRequest


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ({"owner": "u", "file_size": 5}, "size", 5),
        ({"owner": "u", "fileSize": 5}, "size", 5),
        ({"owner": "u", "size": 5, "file_size": "5"}, "size", 5),
        ({"owner": "u", "size": None, "file_size": 5}, "size", 5),
        ({"owner": "u", "size": 5, "file_size": None}, "size", 5),
        ({"owner": "u", "filename": "a.iso"}, "name", "a.iso"),
        ({"owner": "u", "file-name": "a.iso"}, "name", "a.iso"),
        ({"owner": "u", "mimeType": "image/png"}, "content_type", "image/png"),
        ({"owner": "u", "contentType": "image/png"}, "content_type", "image/png"),
        ({"userId": 7}, "owner", "7"),
        ({"owner": "u", "nodeId": "s01"}, "node_id", "s01"),
        ({"owner": "u", "namespace": None}, "namespace", "files"),
        ({"owner": "u", "layout": None}, "layout", "dated"),
        ({"owner": "u", "name": None}, "name", None),
    ],
)
def test_a_field_is_known_by_the_names_that_apps_have_for_it(
    written: dict[str, object], field: str, value: object
) -> None:
    assert getattr(SessionRequest.model_validate(written), field) == value


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"owner": "u", "size": 5, "file_size": 6}, "'size' and 'file_size' mean the same"),
        ({"owner": "u", "user_id": "v"}, "'owner' and 'user_id' mean the same"),
        ({"owner": "u", "colour": 1}, "Extra inputs"),
        ({"owner": "u", "also_called": {}}, "Extra inputs"),
        ({"owner": None}, "valid string"),
    ],
)
def test_what_contradicts_itself_or_is_unknown_is_refused(
    written: dict[str, object], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        SessionRequest.model_validate(written)


def test_null_is_kept_where_it_is_a_wish() -> None:
    assert PoolSettings.model_validate({"weight": None}).model_fields_set == {"weight"}
    assert PoolSettings.model_validate({"priority": None}).priority == 0
    assert NodeStateRequest.model_validate({"state": "active", "force": None}).force is False


def test_the_schema_tells_the_other_names() -> None:
    properties = SessionRequest.model_json_schema()["properties"]
    for name, field in SessionRequest.also_called.items():
        assert properties[name]["description"] == f"Another name of `{field}`."
        assert properties[name].get("anyOf") == properties[field].get("anyOf")


@pytest.mark.parametrize(
    "model", [SessionRequest, FileReceipt, FileQuery, MoveRequest, NewPool, NodeStateRequest]
)
def test_no_pattern_is_without_words_for_who_misses_it(model: type[Request]) -> None:
    for name, schema in model.model_json_schema()["properties"].items():
        kinds = [schema, *schema.get("anyOf", [])]
        if any("pattern" in kind for kind in kinds):
            assert model.model_fields[name].description, name


@pytest.mark.parametrize("field", ["weight", "priority"])
def test_true_and_false_are_no_numbers(field: str) -> None:
    with pytest.raises(ValidationError, match="no numbers"):
        PoolSettings.model_validate({field: False})


@pytest.mark.parametrize("field", ["public_base_url", "upload_api_url"])
def test_a_pools_urls_are_ones_that_sessions_can_be_sent_to(field: str) -> None:
    with pytest.raises(ValidationError, match="no URL"):
        PoolSettings.model_validate({field: "http://["})
    told = PoolSettings.model_validate({field: "https://cdn.example.net/"})
    assert getattr(told, field) == "https://cdn.example.net"


def test_a_move_is_of_the_owner_that_sessions_have() -> None:
    for written, owner in [(42, "42"), ("U\u0308nal", "\u00dcnal")]:
        wish = {"source": "s01", "target": "s02", "owner": written}
        assert MoveRequest.model_validate(wish).owner == owner
