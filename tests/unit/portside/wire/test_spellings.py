"""Values as apps write them: what is taken, as what, and what is refused with what to write."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from portside.wire import spellings

HEX = "ab" * 31 + "0f"
BYTES = bytes.fromhex(HEX)
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
BASE64 = base64.b64encode(BYTES).decode()
URLSAFE = base64.urlsafe_b64encode(BYTES).decode().rstrip("=")
PAIRS = [HEX[at : at + 2].upper() for at in range(0, 64, 2)]


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        (spellings.ExactBytes, 10485760, 10485760),
        (spellings.ExactBytes, "10485760", 10485760),
        (spellings.ExactBytes, " 10485760 ", 10485760),
        (spellings.ExactBytes, 1.5e9, 1_500_000_000),
        (spellings.ExactBytes, "1.5e9", 1_500_000_000),
        (spellings.ExactBytes, "4GiB", 4 << 30),
        (spellings.ExactBytes, "4 GB", 4_000_000_000),
        (spellings.ExactBytes, "0.5 KiB", 512),
        (spellings.ExactBytes, 0, 0),
        (spellings.ExactBytes, "9007199254740993", 9007199254740993),
        (spellings.MostBytes, "0.0011 KiB", 1),
        (spellings.AnyMoment, "2026-03-01T02:00:00 02:00", MOMENT),
        (spellings.AnyMoment, "2026-03-01T02:00:00.000 0200", MOMENT),
        (spellings.AnyMoment, "2026-03-01 02:00:00+02:00", MOMENT),
        (spellings.AnyMoment, "2026-03-01T00:00:00Z", MOMENT),
        (spellings.AnyDuration, 60, 60),
        (spellings.AnyDuration, "60", 60),
        (spellings.AnyDuration, "30d", 30 * 86400),
        (spellings.AnySha256, HEX, HEX),
        (spellings.AnySha256, HEX.upper(), HEX),
        (spellings.AnySha256, f" {HEX}\n", HEX),
        (spellings.AnySha256, f"sha256:{HEX}", HEX),
        (spellings.AnySha256, f"SHA-256={BASE64}", HEX),
        (spellings.AnySha256, f"sha256-{BASE64}", HEX),
        (spellings.AnySha256, f"sha-256=:{BASE64}:", HEX),
        (spellings.AnySha256, BASE64, HEX),
        (spellings.AnySha256, URLSAFE, HEX),
        (spellings.AnySha256, " ".join(PAIRS), HEX),
        (spellings.AnySha256, ":".join(PAIRS), HEX),
        (spellings.AnyMediaType, "text/plain;charset=UTF-8", "text/plain"),
        (spellings.AnyMediaType, "text/plain ; charset=utf-8", "text/plain"),
        (spellings.AnyMediaType, 'Text/Plain; charset="a;b/c"', "text/plain"),
        (spellings.AnyMediaType, "application/x-iso9660-image", "application/x-iso9660-image"),
        (spellings.AnyMediaType, "", None),
        (spellings.AnyMediaType, "  ", None),
        (spellings.AnyRegion, "EU-West", "eu-west"),
        (spellings.AnyRegion, "Helsinki", "helsinki"),
        (spellings.AnyRegion, "hel ", "hel"),
        (spellings.AnyRegion, "eu_central 1", "eu-central-1"),
        (spellings.AnyRegion, "", None),
        (spellings.AnyOwner, "user@example.net", "user@example.net"),
        (spellings.AnyOwner, 123456789012345678, "123456789012345678"),
        (spellings.AnyOwner, "U\u0308nal", "\u00dcnal"),
        (spellings.AnyOwner, " 北京 user/7 ", "北京 user/7"),
        (spellings.AnyOwner, "x" * 128, "x" * 128),
        (spellings.AnyNamespace, "my-files_2", "my-files_2"),
        (spellings.AnyAddress, "192.0.2.7", "192.0.2.7"),
        (spellings.AnyAddress, "192.0.2.7:54321", "192.0.2.7"),
        (spellings.AnyAddress, "::ffff:192.0.2.7", "192.0.2.7"),
        (spellings.AnyAddress, "[2001:DB8:0::7]:443", "2001:db8::7"),
        (spellings.AnyAddress, "fe80::7%eth0", "fe80::7"),
        (spellings.AnyAddress, " ", None),
        (spellings.HttpUrl, "https://cdn.example.net", "https://cdn.example.net"),
        (spellings.HttpUrl, " HTTPS://cdn.example.net:8443/a/ ", "https://cdn.example.net:8443/a"),
        (spellings.HttpUrl, "http://[2001:db8::7]:80", "http://[2001:db8::7]:80"),
    ],
)
def test_what_says_one_thing_is_read_as_it(kind: Any, written: object, read: object) -> None:
    assert TypeAdapter(kind).validate_python(written) == read


@pytest.mark.parametrize(
    ("kind", "written", "says"),
    [
        (spellings.ExactBytes, True, "no sizes"),
        (spellings.ExactBytes, 1.5, "no whole number"),
        (spellings.ExactBytes, "0.0011 KiB", "no whole number"),
        (spellings.ExactBytes, float("nan"), "finite"),
        (spellings.ExactBytes, float("inf"), "finite"),
        (spellings.ExactBytes, "", "no size"),
        (spellings.ExactBytes, "-1", "no size"),
        (spellings.ExactBytes, "1,5 GB", "4GiB"),
        (spellings.ExactBytes, "4 apples", "no size"),
        (spellings.ExactBytes, "9" * 300, "no size"),
        (spellings.ExactBytes, -1, "greater than or equal to 0"),
        (spellings.ExactBytes, 1 << 62, "less than"),
        (spellings.ExactBytes, "1e30", "less than"),
        (spellings.MostBytes, 0, "greater than 0"),
        (spellings.AnyMoment, "2026-03-01 02:00", "timezone"),
        (spellings.AnyMoment, "2026-03-01", "timezone"),
        (spellings.AnyDuration, "a month", "90s, 15m, 2h"),
        (spellings.AnyDuration, -1, "greater than or equal to 0"),
        (spellings.AnySha256, "", "64 hexadecimal digits"),
        (spellings.AnySha256, "d41d8cd98f00b204e9800998ecf8427e", "as long as an MD5"),
        (spellings.AnySha256, "a" * 128, "as long as a SHA-512"),
        (spellings.AnySha256, f"sha512:{HEX}", "no SHA-256"),
        (spellings.AnySha256, HEX[:-1] + "g", "no SHA-256"),
        (spellings.AnyMediaType, "iso", "application/octet-stream"),
        (spellings.AnyMediaType, "image/*", "no media type"),
        (spellings.AnyMediaType, "text/html, text/plain", "no media type"),
        (spellings.AnyMediaType, "; charset=utf-8", "no media type"),
        (spellings.AnyOwner, "   ", "is empty"),
        (spellings.AnyOwner, "a\x85b", "control characters"),
        (spellings.AnyOwner, "a\u2028b", "line breaks"),
        (spellings.AnyOwner, "x" * 129, "at most 128"),
        (spellings.AnyOwner, True, "valid string"),
        (spellings.AnyOwner, 1.5, "valid string"),
        (spellings.AnyNamespace, "Images", "'images'"),
        (spellings.AnyNamespace, "../etc", "'etc'"),
        (spellings.AnyNamespace, "", "no namespace"),
        (spellings.AnyDuration, True, "no numbers"),
        (spellings.AnyAddress, "192.0.2.7, 10.0.0.1", "the uploader's alone"),
        (spellings.AnyAddress, "unknown", "no IP address"),
        (spellings.AnyAddress, "192.0.2.7\x00", "no IP address"),
        (spellings.AnyAddress, "1:2:3:4:5", "no IP address"),
        (spellings.HttpUrl, "", "no URL"),
        (spellings.HttpUrl, "cdn.example.net", "no URL"),
        (spellings.HttpUrl, "ftp://cdn.example.net", "no URL"),
        (spellings.HttpUrl, "http://[", "no URL"),
        (spellings.HttpUrl, "https:///files", "no URL"),
        (spellings.HttpUrl, "https://cdn.example.net:99999", "no URL"),
        (spellings.HttpUrl, "https://cdn.example.net/?a=b", "no URL"),
        (spellings.HttpUrl, "https://cdn.example.net#a", "no URL"),
        (spellings.HttpUrl, "https://user:secret@cdn.example.net", "no URL"),
        (spellings.HttpUrl, "https://m\u00fcnchen.example", "no URL"),
        (spellings.HttpUrl, "https://cdn.example.net/" + "a" * 500, "no URL"),
    ],
)
def test_what_could_mean_two_things_is_refused_with_what_to_write(
    kind: Any, written: object, says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        TypeAdapter(kind).validate_python(written)


def test_a_refused_value_is_shown_short_and_plain() -> None:
    assert spellings.shown("\x1b[2J\u202e") == r"'\x1b[2J\u202e'"
    assert len(spellings.shown("x" * 10_000)) == 60
