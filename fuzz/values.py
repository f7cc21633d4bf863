"""Values that no sender would mean, and messages with one of them in a sensible one's place."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

_RAW = "raw-json:"
"""Before text that Python's JSON couldn't write as it is meant to be read."""


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**70, -(2**70)),
    *(10**400, 1e308, -1e308, 5e-324, 1.5, -0.0, float("nan"), float("inf"), float("-inf")),
    *(f"{_RAW}1e400", f"{_RAW}-1e400", f"{_RAW}{'9' * 5000}", f"{_RAW}1E9999999999", f"{_RAW}01"),
    *("", " ", "\x00", "a\x00b", "\ud800", "a\udfffb", "\x1b[31m", "\u202e", "a" * 5000, "é" * 600),
    *("NaN", "1e400", "9" * 30, "-1", "0x10", "1_000", "../../etc/passwd", "/", ".", ".."),
    *("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "inf"),
    *("2026-02-30T00:00:00Z", "P1D", "10000000d", "1e30 GiB", "9" * 19 + "EiB", "http://[::1"),
    *("https://a:99999", "https://\x00", "https://[", "22:00-25:99", "*", "%00", "\n", "a/b"),
    *([], {}, [None], [[]], {"": ""}, {"a": {"b": 1}}, ["\x00"], ["s01"] * 3000, [{}] * 200),
    *(_deep(60), _deep(300), {"\ud800": 1}, {"\x00": 1}, {str(n): n for n in range(2000)}),
)


def _one(random: Random) -> Any:
    # A copy: what is changed next may lie in it.
    return copy.deepcopy(random.choice(ODD))


def changed(random: Random, message: dict[str, Any]) -> dict[str, Any]:
    """The message with one or two of its values replaced, left out or added."""
    found = copy.deepcopy(message)
    for _ in range(random.choice((1, 1, 1, 2))):
        holder: Any = found
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = random.choice(keys) if keys else "more"
            inner = holder[key] if keys else None
            if isinstance(inner, dict | list) and inner and random.random() < 0.75:
                holder = inner
                continue
            break
        way = random.random()
        if way < 0.05 and isinstance(holder, dict):
            holder.pop(key, None)
        elif way < 0.1 and isinstance(holder, dict):
            holder[random.choice(("more", "\x00", "\ud800", "", "a" * 500))] = _one(random)
        elif isinstance(holder, list) and not holder:
            holder.append(_one(random))
        else:
            holder[key] = _one(random)
    return found


def text_of(value: Any) -> str:
    """JSON, and beyond: with the numbers that Python writes and others can't read."""
    text = json.dumps(value)
    while (at := text.find(f'"{_RAW}')) >= 0:
        end = text.index('"', at + 1)
        text = f"{text[:at]}{text[at + len(_RAW) + 1 : end]}{text[end + 1 :]}"
    return text


def body_of(random: Random, message: dict[str, Any]) -> bytes:
    """A body that should have been this message."""
    way = random.random()
    if way < 0.04:
        return random.choice(NO_JSON)
    text = text_of(changed(random, message) if way < 0.95 else message)
    if way > 0.99:
        # Twice the same name: nobody knows which counts.
        text = text[:-1] + "," + text[1:]
    return text.encode()


NO_JSON = (
    *(b"", b"null", b"[]", b"1", b'"', b"{", b"NaN", b"\xff", b"\xef\xbb\xbf{}", b"\x00", b"{}{}"),
    *(
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a":1e400}',
        b'"\\ud800"',
        b'{"a":1,}',
        b"\xfe\xff\x00{",
    ),
)
