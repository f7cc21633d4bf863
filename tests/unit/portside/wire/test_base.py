"""Requests: names that mean the same, null, and what nobody knows."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portside.wire.control import NodeStateRequest, PoolSettings, SessionRequest


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
