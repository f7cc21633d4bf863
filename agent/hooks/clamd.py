"""ClamAV's daemon, asked by its own protocol (clamd(8), INSTREAM): what it says of some bytes.

Bytes travel through its socket, so that it needs no right to read them and may be on another
machine. Only one answer means that nothing was found: the whole of `stream: OK`, after it had every
byte. An error, an answer that is cut short, comes too early or is anything else is no verdict.

clamd passes as OK what it doesn't look at because it is too large or too deep, unless its
configuration says `AlertExceedsMax yes`: `examine` finds out, with a test file that no clamd can
look at to the end, and with one in which every clamd has to find something.
"""

from __future__ import annotations

import io
import re
import select
import socket
import struct
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from portside.cluster.clamd import ClamdAddress
from portside.quantities import KIB

PIECE = 256 * KIB
"""Bytes in one chunk. clamd takes any size; each costs a read of its own there."""

PATIENCE = 30.0
"""Seconds until it must be connected, or take the next bytes."""

DEADLINE = 900.0
"""Seconds until it must have answered: one and a half times the MaxScanTime that the deploy gives
it (templates/clamav/clamd.conf.j2), for others may be before us."""

_EXAMINED_WITHIN = 60.0
"""Seconds for a test file, which takes it some milliseconds."""

_SLICE = 0.5
"""Seconds between two looks at whether to stop."""

_LONGEST = 4096
"""Bytes of an answer: a name of a signature is a tenth of that."""

_FOUND = re.compile(r"stream: ([!-~][ -~]*) FOUND")
_NOT_LOOKED_AT = ("Heuristics.Limits.Exceeded", "Heuristics.Encrypted.", "(null)")
"""What `AlertExceedsMax` and `AlertEncrypted` have it say of what it couldn't look into. 0.105
has lost the name by then."""

_TOO_LARGE = "INSTREAM size limit exceeded. ERROR"

LARGEST = 2**31 - 1
"""Bytes: the most that ClamAV looks at, whatever its settings say. Releases before 1.2.1 pass as OK
what is larger, with `AlertExceedsMax` too."""

DEEPEST = 100
"""The most that `MaxRecursion` can be (clamd.conf(5))."""


class ClamdAway(Exception):
    """It can't be reached, or can't be relied on: whatever it would say of any file."""


class NoVerdict(Exception):
    """It has said nothing that counts of this file. It may do so another time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it made of a file; `found` is the signature's name, or why it couldn't look."""

    scan: Literal["clean", "infected", "unscannable"]
    found: str = ""


def verdict_of(answer: bytes) -> Verdict:
    """What a whole answer means. Raises NoVerdict for whatever isn't known to mean something."""
    line, end, rest = answer.partition(b"\0")
    text = line.decode("ascii", errors="replace")
    if not end or rest:
        raise NoVerdict(f"the answer is cut short or is none: {text[:100]!r}")
    if text == "stream: OK":
        return Verdict("clean")
    if text == _TOO_LARGE:
        return Verdict("unscannable", "larger than clamd's StreamMaxLength")
    found = _FOUND.fullmatch(text)
    if found is None:
        raise NoVerdict(f"clamd answers {text[:200]!r}")
    name = found[1][:200]
    return Verdict("unscannable" if name.startswith(_NOT_LOOKED_AT) else "infected", name)


def scan(
    address: ClamdAddress,
    pieces: Iterable[bytes],
    going: Callable[[], bool],
    deadline: float = DEADLINE,
    patience: float = PATIENCE,
) -> Verdict:
    """Have it look at bytes, in pieces of at most 4 GiB. `going` is asked about twice a second.

    Raises ClamdAway when nobody listens at `address`, NoVerdict for whatever else goes wrong.
    """
    try:
        connection = _connected(address, patience)
    except OSError as error:
        raise ClamdAway(f"{address} can't be reached: {error.strerror or error}") from None
    with connection:
        try:
            complete = _send(connection, pieces, going)
            answer = _received(connection, going, time.monotonic() + deadline)
        except OSError as error:
            raise NoVerdict(f"the connection broke: {error.strerror or error}") from None
    verdict = verdict_of(answer)
    if not complete and verdict.scan != "unscannable":
        raise NoVerdict("clamd answered before it had every byte")
    return verdict


def examine(address: ClamdAddress, going: Callable[[], bool]) -> None:
    """Find out whether its word can be relied on. Raises ClamdAway if not, NoVerdict as `scan`."""
    # In two halves, that no scanner takes this module for what it is in the whole.
    eicar = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    if scan(address, [eicar], going, _EXAMINED_WITHIN).scan != "infected":
        raise ClamdAway(
            f"{address} finds nothing in the EICAR test file: it lacks its signatures "
            "(its freshclam brings them)"
        )
    if scan(address, [_too_deep()], going, _EXAMINED_WITHIN).scan != "unscannable":
        raise ClamdAway(
            f"{address} passes what it doesn't look at: set `AlertExceedsMax yes` in its clamd.conf"
        )


@cache
def _too_deep() -> bytes:
    """Archives in archives, more than any clamd unpacks: 12 KB."""
    inner, name = b"", "a"
    for _ in range(DEEPEST + 10):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), inner)
        inner, name = file.getvalue(), "a.zip"
    return inner


def _connected(address: ClamdAddress, patience: float) -> socket.socket:
    if address.host is not None:
        return socket.create_connection((address.host, address.port), timeout=patience)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(patience)
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


def _send(connection: socket.socket, pieces: Iterable[bytes], going: Callable[[], bool]) -> bool:
    """Send all of it; False when it was refused on the way, of which there is an answer then."""
    try:
        connection.sendall(b"zINSTREAM\0")
        for piece in pieces:
            _must_go_on(going)
            # It refuses what is too large at once. Read now: what comes behind ends the connection.
            if select.select([connection], [], [], 0)[0]:
                return False
            # A chunk of no bytes is the end.
            if piece:
                connection.sendall(struct.pack(">I", len(piece)) + piece)
        connection.sendall(struct.pack(">I", 0))
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _received(connection: socket.socket, going: Callable[[], bool], until: float) -> bytes:
    """All that it sends until it closes the connection."""
    answer = b""
    while True:
        _must_go_on(going)
        if time.monotonic() >= until:
            raise NoVerdict("clamd didn't answer in time")
        if not select.select([connection], [], [], _SLICE)[0]:
            continue
        try:
            data = connection.recv(_LONGEST)
        except ConnectionResetError:
            # Of bytes that it didn't want any more. Its answer was read before that, or is lost.
            data = b""
        answer += data
        if not data or len(answer) > _LONGEST:
            return answer


def _must_go_on(going: Callable[[], bool]) -> None:
    if not going():
        raise NoVerdict("the worker was stopped")
