"""Mistakes in a message are told in words, whichever model finds them."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portside.wire import fields
from portside.wire.problem import _FORMS, in_words

JARGON = re.compile(r"[\^$\\]|Value error|Upload|pattern|None")


class Upload(BaseModel):
    """A message with fields of most forms."""

    model_config = ConfigDict(extra="forbid")

    owner: fields.Owner
    namespace: fields.Namespace = "files"
    sha256: fields.Sha256 | None = None
    content_type: fields.MediaType | None = None
    size: int | None = Field(default=None, ge=0)
    layout: fields.Layout = "dated"


def _told(body: str) -> str:
    with pytest.raises(ValidationError) as refused:
        Upload.model_validate_json(body)
    return in_words(refused.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"namespace": "A B"}, "namespace: must be 1 to 64 of a-z"),
        ({"sha256": "0xAB"}, "sha256: must be a SHA-256 as 64 hex digits"),
        ({"content_type": "picture"}, "content_type: must be a media type, as in image/png"),
        ({"owner": "a\nb"}, "owner: must be 1 to 128 characters, none of them a control"),
        ({"size": "many"}, "size: Input should be a valid integer"),
        ({"size": -1}, "size: Input should be greater than or equal to 0"),
        ({"layout": "flat"}, "layout: Input should be 'dated' or 'named'"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_field_that_is_wrong_is_told_in_words(changed: dict[str, object], told: str) -> None:
    message = _told(json.dumps({"owner": "u", **changed}))
    assert message.startswith(told)
    assert not JARGON.search(message)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"a"'])
def test_what_is_no_message_at_all_is_told_in_words(body: str) -> None:
    assert not JARGON.search(_told(body))


def test_no_more_than_a_few_mistakes_are_told() -> None:
    assert _told(json.dumps(dict.fromkeys(map(str, range(50))))).count(";") == 4


def test_every_form_that_fields_have_is_told_in_words() -> None:
    patterns = {getattr(fields, name) for name in vars(fields) if name.endswith("_PATTERN")}
    assert patterns <= set(_FORMS)
