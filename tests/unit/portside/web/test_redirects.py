"""What requests for files say of themselves, and what is said on where they are led."""

from __future__ import annotations

import falcon
import falcon.testing
import pytest

from portside.web.redirects import is_saved, onward, query_value, resumed_content

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("query", "saved"),
    [
        ("", False),
        ("download", True),
        ("download=", True),
        ("token=t&download=1", True),
        ("download=true", True),
        ("download=0", False),
        ("download=false", False),
        ("downloads=1", False),
        ("token=download", False),
    ],
)
def test_a_file_is_saved_if_that_is_asked_for(query: str, saved: bool) -> None:
    assert is_saved(query) == saved


@pytest.mark.parametrize(
    "query",
    ["token=a.b-c_d", "token=a%2Eb%2Dc%5Fd", "x=%FF&token=a.b-c_d%0A", "token=%20a.b-c_d%20"],
)
def test_a_value_is_read_however_much_of_it_is_encoded(query: str) -> None:
    assert query_value(query, "token") == "a.b-c_d"


def test_who_is_led_on_asks_there_for_the_same() -> None:
    assert onward("https://a.b/x", ("s01",), "t", saved=True) == (
        "https://a.b/x?token=t&avoid=s01&download=1"
    )
    assert onward("https://a.b/x", ()) == "https://a.b/x"


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"Range": "bytes=5-", "If-Range": f'"{SHA256}"'}, True),
        ({"Range": "bytes=5-", "If-Match": f'"{SHA256}"'}, True),
        ({"Range": "bytes=5-"}, False),
        ({"If-Range": f'"{SHA256}"'}, False),
        ({"Range": "bytes=5-", "If-Range": f'W/"{SHA256}"'}, False),
        ({"Range": "bytes=5-", "If-Range": "Mon, 30 Nov 2026 02:00:00 GMT"}, False),
        ({"Range": "bytes=5-", "If-Match": "*"}, False),
    ],
)
def test_who_names_the_content_has_had_its_beginning(headers: dict[str, str], known: bool) -> None:
    request = falcon.Request(falcon.testing.create_environ(headers=headers))
    assert resumed_content(request) == (SHA256 if known else None)
