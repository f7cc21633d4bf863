"""A file's name is found however a client writes it, and never made up."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.incoming.disposition import disposition_name
from portside.names import NameRefused, sanitise


def _wire(text: str, charset: str = "utf-8") -> str:
    """A header's value as WSGI has it: a character for each byte."""
    return text.encode(charset).decode("latin-1")


@pytest.mark.parametrize(
    ("client", "value", "name"),
    [
        ("browsers", 'form-data; name="file"; filename="Größe 名.bin"', "Größe 名.bin"),
        ("browsers, a quote", 'form-data; name="file"; filename="a%22b.bin"', 'a"b.bin'),
        ("browsers, a percent", 'form-data; name="file"; filename="100%25 a.bin"', "100%25 a.bin"),
        ("browsers, a backslash", 'form-data; name="file"; filename="a\\b.bin"', "a\\b.bin"),
        ("curl before 7.81", 'form-data; name="file"; filename="a\\"b\\\\c.bin"', 'a"b\\c.bin'),
        ("aiohttp", 'form-data; name="file"; filename="%E5%90%8D%20x.bin"', "名 x.bin"),
        ("a browser, a sign of its own", 'form-data; filename="100 %C3%B6.bin"', "100 %C3%B6.bin"),
        (
            "both ways at once",
            "form-data; filename=\"%E5%90%8D.bin\"; filename*=utf-8''%E5%90%8D.bin",
            "名.bin",
        ),
        (
            "requests before 2.23",
            "form-data; name=\"file\"; filename*=utf-8''gr%C3%BC.bin",
            "grü.bin",
        ),
        ("RFC 5987", "form-data; filename*=ISO-8859-1'en'gr%FC%DFe.bin", "grüße.bin"),
        ("quoted by mistake", "attachment; filename*=\"UTF-8''gr%C3%BC.bin\"", "grü.bin"),
        ("bytes left as they are", "attachment; filename*=UTF-8''grü.bin", "grü.bin"),
        (
            ".NET",
            "form-data; filename=\"=?utf-8?B?Z3LDvC5iaW4=?=\"; filename*=utf-8''gr%C3%BC.bin",
            "grü.bin",
        ),
        (".NET, older", 'form-data; name=file; filename="=?utf-8?B?Z3LDvC5iaW4=?="', "grü.bin"),
        ("words", 'form-data; filename="=?utf-8?Q?gr=C3?= =?utf-8?Q?=BC.bin?="', "grü.bin"),
        ("words", 'form-data; filename="=?iso-8859-1?Q?gr=FC?= =?utf-8?Q?_x.bin?="', "grü x.bin"),
        ("words", 'form-data; filename="=?no-such?B?Z3I=?="', None),
        ("old browsers", 'form-data; filename="C:\\fakepath\\x.iso"', "x.iso"),
        ("old browsers", 'form-data; filename="D:\\a b\\Größe.iso"', "Größe.iso"),
        ("old browsers", 'form-data; filename="\\\\host\\share\\x.iso"', "x.iso"),
        ("old browsers, escaped", 'form-data; filename="C:\\\\fakepath\\\\x.iso"', "x.iso"),
        ("a way out", 'form-data; filename="C:\\..\\..\\x.iso"', "C:\\..\\..\\x.iso"),
        ("a way out", 'form-data; filename="..\\x.iso"', "..\\x.iso"),
        ("a folder", 'form-data; filename="dir/sub/x.iso"', "dir/sub/x.iso"),
        (
            "a semicolon",
            'form-data; filename="a; filename=b.bin"; name="file"',
            "a; filename=b.bin",
        ),
        ("no quotes", "attachment; FileName=x.bin", "x.bin"),
        ("no type", 'filename="x.bin"', "x.bin"),
        ("no spaces", 'form-data;name="file";filename="x.bin"', "x.bin"),
        (
            "an extended one that can't be read",
            "form-data; filename=x.bin; filename*=UTF-8''%FF",
            "x.bin",
        ),
        ("no charset of text", "form-data; filename*=hex''41", None),
        ("nothing chosen", 'form-data; name="file"; filename=""', None),
        ("no name", "attachment", None),
        ("nothing", "", None),
    ],
)
def test_names_are_read_as_they_are_meant(client: str, value: str, name: str | None) -> None:
    assert disposition_name(_wire(value)) == name, client


@pytest.mark.parametrize("charset", ["latin-1", "cp1252", "shift-jis", "gb18030"])
def test_a_name_in_another_charset_is_read_where_the_charset_is_known(charset: str) -> None:
    name = "名前.bin" if charset in ("shift-jis", "gb18030") else "größe.bin"
    value = _wire(f'form-data; filename="{name}"', charset)
    assert disposition_name(value) is None
    assert disposition_name(value, charset) == name
    assert disposition_name(value, "no-such-charset") is None


@given(st.text())
def test_whatever_is_sent_is_a_name_or_none(value: str) -> None:
    name = disposition_name(value)
    with contextlib.suppress(NameRefused):
        sanitise(name or "")
