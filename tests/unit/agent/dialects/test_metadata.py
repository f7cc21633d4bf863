"""Upload-Metadata as clients write it: what they mean is read, what can't be read is named."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.dialects.metadata import MOST_METADATA, name_in, parse_metadata
from agent.problems import ProblemError

CJK = "\u5199\u771f\u306e\u540d\u524d.jpg"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.binary(max_size=40), max_size=6))
def test_metadata_comes_out_as_it_went_in(metadata: dict[str, bytes]) -> None:
    pairs = (f"{key} {base64.b64encode(value).decode()}" for key, value in metadata.items())
    assert parse_metadata(",".join(pairs)) == metadata


@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        pytest.param("", {}, id="none"),
        pytest.param("is_draft", {"is_draft": b""}, id="a key alone"),
        pytest.param("is_draft ,name YQ==", {"is_draft": b"", "name": b"a"}, id="an empty value"),
        pytest.param("name YQ== , type Yg==", {"name": b"a", "type": b"b"}, id="spaces at commas"),
        pytest.param("name  YQ==", {"name": b"a"}, id="two spaces"),
        pytest.param("name YQ==,", {"name": b"a"}, id="a comma at the end"),
        pytest.param("name YQ", {"name": b"a"}, id="no padding"),
        pytest.param("name -_8=", {"name": b"\xfb\xff"}, id="the alphabet for URLs"),
        pytest.param("relativePath bnVsbA==", {"relativePath": b"null"}, id="null as a word"),
        pytest.param("thumb /9j/4A==", {"thumb": b"\xff\xd8\xff\xe0"}, id="no text at all"),
    ],
)
def test_what_clients_write_is_read(value: str, metadata: dict[str, bytes]) -> None:
    assert parse_metadata(value) == metadata


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("filename *", "'filename' is no Base64"),
        ("filename YQABC", "'filename' is no Base64"),
        ("filename YQ== YQ==", "'filename' is no Base64"),
        ("filename YQ==,filename Yg==", "'filename' twice"),
        ("na\u00efve YQ==", "printable ASCII"),
        ("filename " + "A" * MOST_METADATA, f"longer than {MOST_METADATA} bytes"),
    ],
)
def test_what_can_not_be_read_is_named(value: str, told: str) -> None:
    with pytest.raises(ProblemError, match=told) as refused:
        parse_metadata(value)
    assert refused.value.slug == "malformed-request"


def test_uppys_metadata_of_a_file_with_a_long_name_fit() -> None:
    # Uppy sends the name twice, the folder it was dropped in, and what the app adds.
    long = CJK * 20
    pairs = {"relativePath": f"{long}/{long}", "name": long, "filename": long, "caption": long}
    value = ",".join(f"{key} {_encoded(text)}" for key, text in pairs.items())
    assert len(value) > 2048
    assert name_in(parse_metadata(value)) == long


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("filename YQ==,name Yg==", "a"),
        ("name Yg==,type Yw==", "b"),
        ("filename ,name Yg==", "b"),
        ("fileName YQ==, filetype Yg==", "a"),
        ("FileName Yg==,filename YQ==", "a"),
        ("type YQ==", None),
        (f"filename {_encoded(CJK)}", CJK),
    ],
)
def test_the_name_is_found_under_any_of_its_keys(value: str, name: str | None) -> None:
    assert name_in(parse_metadata(value)) == name


def test_a_name_that_is_no_utf_8_is_none() -> None:
    unreadable = "\u00fc".encode("latin-1")
    assert name_in({"filename": unreadable}) is None
    assert name_in({"filename": unreadable, "name": b"a"}) == "a"
