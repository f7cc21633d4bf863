"""Types of fields that come from another machine: each has an end.

A number that no database takes, a text with a NUL, a list of a million entries: whoever sends one
is refused where the message is read, and nothing behind that has to think of it. Every field of
every message has one of these types, or others with bounds of their own, and lists are read up to
the first mistake in them (`fail_fast`): telling of a million takes as long. A test goes through all
(`tests/unit/portside/wire/test_bounds.py`).

A narrower bound goes into an `Annotated[Text, Field(max_length=500)]`: of `Text = Field(
max_length=500)` pydantic takes the wider one, that of the type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

LARGEST = 2**63 - 1
"""What SQLite's and PostgreSQL's integers, and a file's size, can be at most."""

LARGEST_FILE = 2**50
"""Bytes that no file has: pools add up what nodes say that they have, thousands of lies too."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Years before the last moment that Python and PostgreSQL know: deadlines, leeways and offsets of
time zones are added to it."""

MOST_NODES = 10_000
"""Of one cluster: ten times what the control plane was measured with."""

MOST_COPIES = 64
"""Of one file: nobody has a use for more, and each is a token's or a receipt's bytes."""

MOST_REASONS = 64
"""Sentences for people in one message."""

MOST_REVOKED = 100_000
"""Tokens that are revoked at a time: some 4 MiB in a heartbeat's answer."""

MOST_LEASES = 1000
"""Pieces of work in one heartbeat or its answer: what a node does in minutes."""

MOST_LISTED = 10_000
"""Entries of a page or of a list that an operator reads."""

LONGEST_PATH = 1200
"""Characters: a namespace, a date, a name."""


def number(value: object) -> object:
    """A number as it is. Raises ValueError for true and false, which pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _without_nul(text: str) -> str:
    """PostgreSQL's texts, and names of files, have none."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _of_these_ages(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"must be between the years {EARLIEST.year} and {LATEST.year}")
    # Now: at the ends of the calendar an offset leads beyond.
    return moment.astimezone(UTC)


def _short(path: PurePosixPath) -> PurePosixPath:
    if len(_without_nul(str(path))) > LONGEST_PATH:
        raise ValueError(f"has more than {LONGEST_PATH} characters")
    return path


def _stays_below(path: PurePosixPath) -> PurePosixPath:
    """A path that leads nowhere else, whatever it is put behind."""
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be relative, without '..'")
    return _short(path)


Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST), BeforeValidator(number)]
"""A whole number of either sign."""

Amount = Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(number)]
"""Bytes, seconds, or how many."""

UnixTime = Annotated[int, Field(ge=-LARGEST, le=int(LATEST.timestamp())), BeforeValidator(number)]
"""Seconds since 1970 (RFC 7519, NumericDate). Before that nothing was valid: no need to say so."""

Fraction = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False), BeforeValidator(number)]
"""A rate, or seconds: finite, and so small that sums and squares of it are."""

Measured = Annotated[Fraction, AfterValidator(lambda told: max(0.0, told))]
"""Seconds, or a rate. A duration that a clock which was set back has made negative is none."""

Moment = Annotated[AwareDatetime, AfterValidator(_of_these_ages)]
"""A date and time with an offset (RFC 3339), in UTC once it is read."""

SaidPath = Annotated[PurePosixPath, AfterValidator(_short)]
"""A path that whoever reads it looks at, to say more than that the whole message is none."""

StoredPath = Annotated[PurePosixPath, AfterValidator(_stays_below)]
"""Where a file lies below a node's `uploads/`."""

Label = Annotated[str, Field(max_length=64), AfterValidator(_without_nul)]
"""A short word: the id of a node or a pool, a state, a version."""

Name = Annotated[str, Field(max_length=1024), AfterValidator(_without_nul)]
"""A file's name, an owner, a media type."""

Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]
"""A sentence that is kept, a URL, a word of a command."""

Prose = Annotated[str, Field(max_length=65536)]
"""Words for people that are told and not kept: a problem's, a list of what is in the way."""

Token = Annotated[str, Field(max_length=8192), AfterValidator(_without_nul)]
"""A compact JWS: as long as nginx takes a header."""
