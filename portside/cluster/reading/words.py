"""What pydantic found, in words for whoever wrote the file: what is there, and what to write."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from portside.alerting.destinations import (
    MAIL_HOST_PATTERN,
    MAIL_USER_PATTERN,
    WEBHOOK_PATTERN,
)
from portside.cluster.reading import keys
from portside.cluster.reading.document import Document, Path
from portside.cluster.reading.mistake import Mistake, dotted
from portside.quantities import format_size, parse_size
from portside.wire.fields import (
    APP_ID_PATTERN,
    NAMESPACE_OR_ALL_PATTERN,
    NAMESPACE_PATTERN,
    NODE_ID_PATTERN,
    REGION_PATTERN,
)

_ID = "lower-case letters, digits and '-'"

_PATTERNS = {
    NODE_ID_PATTERN: f"node ids are one label of a host name: {_ID}, 63 at most, as s01",
    REGION_PATTERN: f"write it in {_ID}, 32 at most, as hel",
    NAMESPACE_PATTERN: f"namespaces are {_ID} or '_', 64 at most, as images",
    NAMESPACE_OR_ALL_PATTERN: f"a namespace ({_ID} or '_', 64 at most), or '*' for every one",
    APP_ID_PATTERN: f"apps are named in {_ID}, 63 at most, as `portside app create` takes it",
    r"^[a-z0-9][a-z0-9-]{0,31}$": f"write it in {_ID}, 32 at most, as example",
    r"^[A-Za-z0-9:][A-Za-z0-9._:-]*$": "an address or a name alone, as 198.51.100.7: no user, "
    "no port, no scheme (ssh: {user, port} of the node have these)",
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "a user's name is letters, digits, '.', '_' and '-'",
    r"^https?://[A-Za-z0-9.:\[\]-]+$": "scheme, host and port alone, as https://s3.example.net",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "3 to 63 lower-case letters, digits, '.' and '-'",
    MAIL_HOST_PATTERN: "a host's name or address alone, as mail.example.net",
    MAIL_USER_PATTERN: "letters of ASCII alone, as ops@example.net",
    WEBHOOK_PATTERN: "an http:// or https:// URL without spaces",
}
"""What is said for a text that doesn't match: its pattern is for programs."""

_REQUIRED = {
    "name": "write `name: example`",
    "domain": "write `domain: example.net`, what node names are completed with",
    "nodes": "write `nodes: {s01: {}}` with your nodes",
}

_COMPARED = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}

_NUMBERS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def mistakes(error: ValidationError, model: type[BaseModel], document: Document) -> list[Mistake]:
    """Every mistake of the file: what YAML would have misread, then the model's, by their keys."""
    told = {each.key for each in document.mistakes}
    found = list(document.mistakes)
    for path, what in _by_key(error, model, document).items():
        if dotted(path) not in told:
            found.append(Mistake("; or ".join(what), dotted(path), document.line(path)))
    return sorted(found, key=lambda each: math.inf if each.line is None else each.line)


def _by_key(
    error: ValidationError, model: type[BaseModel], document: Document
) -> Mapping[Path, list[str]]:
    """A union's members each have an error of their own for one key."""
    found: dict[Path, list[str]] = {}
    for item in error.errors(include_url=False):
        path = tuple(part for part in item["loc"] if part != "[key]")
        if item["type"] != "missing":
            path = document.within(path)
        what = _words(item, path, model, document)
        said = found.setdefault(path, [])
        if what not in said:
            said.append(what)
    return found


def _words(item: ErrorDetails, path: Path, model: type[BaseModel], document: Document) -> str:
    kind, given, told = item["type"], item["input"], item.get("ctx", {})
    place = document.places.get(path)
    written = place.written if place and place.written is not None else str(given)
    is_key = "[key]" in item["loc"]
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"is missing: {_REQUIRED.get(dotted(path), 'it has to be there')}"
    if kind == "extra_forbidden":
        return _unknown(path, model)
    if given is None:
        return "has nothing behind it: write a value, or leave the key out for the default"
    if kind in _COMPARED:
        bound, words = _COMPARED[kind]
        return f"{written} is out of range: {words} {_measured(told[bound], path, model)}"
    if kind == "string_pattern_mismatch":
        return _ill_written(str(given), told["pattern"], document, is_key)
    if kind == "literal_error":
        return _not_one_of(written, given, told["expected"])
    if kind in _NUMBERS:
        return f"{_shown(given, written)} is written where {_NUMBERS[kind]} belongs"
    if kind in ("string_type", "path_type", "string_sub_type"):
        return _no_text(given, written)
    if kind in ("model_type", "dict_type", "model_attributes_type", "mapping_type"):
        return _no_mapping(given, path, model)
    if kind in ("tuple_type", "list_type"):
        return f"{_shown(given, written)} is written where a list belongs: write {_as_list(given)}"
    if kind == "string_unicode":
        return "has half of a character in it (\\ud800 to \\udfff): write the whole one"
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        number = told["min_length" if least else "max_length"]
        return f"must have {'at least' if least else 'at most'} {number} entries"
    if kind in ("string_too_short", "string_too_long"):
        least = kind == "string_too_short"
        number = told["min_length" if least else "max_length"]
        return f"must have {'at least' if least else 'at most'} {number} characters"
    return f"{_shown(given, written)} can't be used here ({kind})"


def _unknown(path: Path, model: type[BaseModel]) -> str:
    hint = keys.meant(model, path)
    return "is no key Portside knows" + (
        f": {hint}" if hint else ": clusters/example.yaml has every one"
    )


def _measured(bound: Any, path: Path, model: type[BaseModel]) -> str:
    kind = keys.kind_at(model, path)
    if kind == "size":
        return format_size(bound)
    if kind == "duration":
        return next(
            (f"{bound // unit}{name}" for unit, name in _UNITS if bound and bound % unit == 0),
            f"{bound}s",
        )
    return f"{bound}"


_DECIMAL = re.compile(r"([0-9.]+) *([kmgtp])b", re.IGNORECASE)
"""A size in units of a thousand."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def _ill_written(given: str, pattern: str, document: Document, is_key: bool) -> str:
    # A webhook's URL has a secret in it with many a chat service.
    is_secret = pattern == WEBHOOK_PATTERN
    shown = f"{given!r}: " if (is_key or len(given) < 80) and not is_secret else ""
    if pattern == NODE_ID_PATTERN:
        domain = document.data.get("domain") if isinstance(document.data, dict) else None
        label, dot, rest = given.lower().rstrip(".").partition(".")
        if label.replace("-", "").isalnum() and label.isascii() and (given != label):
            more = f" ({rest} isn't the file's domain)" if dot and rest != domain else ""
            return (
                f"{shown}node ids are the first label of the host name, in lower case: write "
                f"{label}{more}"
            )
    if pattern in _PATTERNS:
        return f"{shown}{_PATTERNS[pattern]}"
    return f"{shown}isn't written as it must be: it has to match {pattern}"


def _not_one_of(written: str, given: Any, expected: str) -> str:
    listed = expected.replace(" or ", ", ").replace("False", "false").replace("True", "true")
    choices = [each.strip("'") for each in listed.split(", ")]
    near = difflib.get_close_matches(written.lower(), choices, n=1, cutoff=0.6)
    said = f"{written!r} is none of {', '.join(choices)}"
    if isinstance(given, bool) and written.lower() in choices:
        return f"YAML reads {written} as {str(given).lower()}: put it in quotes, '{written}'"
    return said + (f": did you mean {near[0]}?" if near else "")


def _no_text(given: Any, written: str) -> str:
    if isinstance(given, list):
        return (
            "a list is where text belongs: a text that begins with '[', a regular expression say, "
            "goes in quotes"
        )
    if isinstance(given, dict):
        return (
            "a mapping is where text belongs: a text that begins with '{' or has ': ' in it goes "
            "in quotes"
        )
    if isinstance(given, bool):
        reads = f"YAML reads {written} as {str(given).lower()}"
    elif isinstance(given, int | float):
        reads = f"YAML reads {written} as a number, and this is text"
    else:
        reads = f"YAML reads {written} as something else than text"
    return f"{reads}: put it in quotes, '{written}'"


def _no_mapping(given: Any, path: Path, model: type[BaseModel]) -> str:
    if path == ("nodes",):
        ids = [*_ids(given)] or ["s01"]
        return (
            f"{_shown(given, str(given))} is where a mapping belongs: write `nodes: "
            f"{{{', '.join(f'{each}: {{}}' for each in ids)}}}`, or `{ids[0]}: {{}}` and so on in "
            "lines of their own, without '-'"
        )
    known = keys.known(model, path)
    as_in = f", as {known[0]}: ..." if known else ", as key: value"
    if isinstance(given, list) and not given and not known:
        return "an empty list is where a mapping belongs: write {}, or leave the key out"
    return f"{_shown(given, str(given))} is where a mapping belongs: keys with values{as_in}"


def _ids(given: Any) -> Iterator[str]:
    """What seems to be meant as node ids by a list, or by one word."""
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, dict):
            yield from each
        elif isinstance(each, str):
            yield from each.split()


def _shown(given: Any, written: str) -> str:
    if isinstance(given, list):
        return "a list"
    if isinstance(given, dict):
        return "a mapping"
    return repr(written) if isinstance(given, str) else written


def _as_list(given: Any) -> str:
    return f"[{given}]" if isinstance(given, str | int | float) else "- and each in its own line"


def notes(model: type[BaseModel], document: Document) -> Iterator[Mistake]:
    """Sizes in units of a thousand, which people take for the larger ones."""
    for path, place in document.places.items():
        value, decimal = place.written, None
        if value is not None and keys.kind_at(model, path) == "size":
            decimal = _DECIMAL.fullmatch(value.strip())
        if decimal is not None:
            binary = f"{decimal[1]}{decimal[2].upper()}iB"
            yield Mistake(
                f"{value} is decimal, {format_size(parse_size(str(value)))}: write {binary} if "
                "units of 1024 are meant",
                dotted(path),
                place.line,
            )
