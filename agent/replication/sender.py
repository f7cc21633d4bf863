"""One attempt to bring a copy to another node: ask how far it is, send the rest, check the receipt.

The standard library's client over one connection; the next piece is read from disk while one is on
its way. What can go wrong on the way:

- no connection, one that breaks, a target that is silent: tried again, from where the target's disk
  has got to;
- a refusal: what it means is `agent.replication.attempt`'s to say;
- this node's file can't be read, is shorter than it was, or isn't what its digest says (the target
  compares): `damaged`, for the caller to look at the file;
- the file is deleted meanwhile: the connection is cut, and the target told to forget the push
  (`forget`; a file that is deleted while no worker runs is forgotten by the next one). A copy that
  was complete by then stays: its own node's to delete, as `agent.replication.receiver` says.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from agent.host.read_ahead import ReadAhead
from agent.host.supervised_thread import Pulse
from agent.host.throttle import Throttle
from agent.replication.attempt import Attempt, refused, slug_of
from agent.storage.holds import is_scanners
from agent.storage.verification import DAMAGE
from portside.digest import format_repr_digest
from portside.orders.copies import HEADER
from portside.tokens import SigningKey, TokenRefused, mint_replicate, verify_receipt
from portside.tracing import current
from portside.wire import paths
from portside.wire.claims import ReplicateClaims
from portside.wire.files import StoredFile
from portside.wire.heartbeat import RosterNode
from portside.wire.problem import Problem

PATIENCE = 60.0
"""Seconds for one step: connecting, a piece on its way, the answer once all of it is there."""

TOKEN_LIFE = 86400
"""Seconds for which a push's token counts, before and behind this node's now. It says what may be
sent, once and for good; so copies also come from a node whose clock is off."""

LOOK_EVERY = 1.0
"""Seconds between two looks whether a push under way is still wanted."""

_MOST_ANSWER = 64 * 1024

_AGENT = f"portside-agent/{version('portside')}"


@dataclass(frozen=True, slots=True)
class Errand:
    """One file to one node: its data, its attributes, the token's id of its upload."""

    path: Path
    stored: StoredFile
    jti: str
    target: RosterNode
    proof: str | None = None
    """What lets the target take the file (`portside.orders.copies`), where it hasn't got it."""


class _Cut(Exception):
    """The push is not to go on; the attempt says why."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.result)
        self.attempt = attempt


@dataclass(slots=True)
class Conditions:
    """How a push goes on its way: pieces of so many bytes, no faster than each throttle allows, as
    long as it is wanted (asked now and then) and the worker doesn't stop."""

    piece: int
    throttles: tuple[Throttle, ...]
    is_wanted: Callable[[], bool]
    pulse: Pulse
    look_at: float = 0.0
    offset: int = 0
    """Bytes that the target had on disk before this push sent any."""

    def wait_for_turn(self, size: int) -> None:
        """Wait until the next `size` bytes may be sent. Raises _Cut when they are not to be."""
        turn = time.monotonic() + max(each.take(size) for each in self.throttles)
        while True:
            if self.pulse.stopped:
                raise _Cut(Attempt("stopped"))
            now = time.monotonic()
            if now >= self.look_at:
                self.look_at = now + LOOK_EVERY
                if not self.is_wanted():
                    raise _Cut(Attempt("unwanted", "its file is deleted"))
            if now >= turn:
                return
            self.pulse.wait(min(turn - now, LOOK_EVERY))


class Sender:
    """Sends one node's copies. `trusting` says whose certificates count."""

    def __init__(self, key: SigningKey, trusting: ssl.SSLContext) -> None:
        self._key = key
        self._trusting = trusting

    def send(self, errand: Errand, conditions: Conditions) -> Attempt:
        """Make one attempt. Never raises what a target or this node's disk can cause."""
        try:
            with connected(errand.target, self._trusting) as connection:
                return self._bring(connection, errand, conditions)
        except _Cut as cut:
            # What the target has of it may be damaged, or is of a file that is no more.
            if cut.attempt.result in ("unwanted", "damaged"):
                self.forget(errand)
            return cut.attempt
        except (OSError, http.client.HTTPException) as error:
            return Attempt("failed", f"{type(error).__name__}: {error}")

    def forget(self, errand: Errand) -> bool:
        """Have the target give back what came of a push; whether it was there to hear it.

        Where it wasn't it does so by itself, a day later.
        """
        try:
            with connected(errand.target, self._trusting) as connection:
                self.begin(connection, "DELETE", errand)
                connection.endheaders()
                connection.getresponse().read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _bring(
        self,
        connection: http.client.HTTPConnection,
        errand: Errand,
        conditions: Conditions,
    ) -> Attempt:
        size = errand.stored.size
        self.begin(connection, "HEAD", errand)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        conditions.pulse.beat()
        # A HEAD's refusal has no words: asking for the end has them.
        offset = size
        if answer.status == 204:
            conditions.offset = offset = _offset(answer, size)
        self.begin(connection, "PUT", errand)
        connection.putheader("Repr-Digest", format_repr_digest(errand.stored.sha256))
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(size - offset))
        sent = f"{offset}-{size - 1}" if offset < size else "*"
        connection.putheader("Content-Range", f"bytes {sent}/{size}")
        connection.endheaders()
        failed = self._send_body(connection, errand, offset, conditions)
        return judged(connection, errand, offset, failed)

    def _send_body(
        self,
        connection: http.client.HTTPConnection,
        errand: Errand,
        offset: int,
        conditions: Conditions,
    ) -> OSError | None:
        """Send the file from `offset` on; what broke the connection is returned, for the target
        may have said why. Raises _Cut.
        """
        for data in _pieces(errand, offset, conditions.piece):
            conditions.wait_for_turn(len(data))
            try:
                connection.send(data)
            except OSError as error:
                return error
            conditions.pulse.beat()
        return None

    def begin(self, connection: http.client.HTTPConnection, method: str, errand: Errand) -> None:
        """Begin a request about this file. Raises OSError or HTTPException."""
        parts = urlsplit(errand.target.public_base_url)
        path = quote(str(errand.stored.path))
        connection.putrequest(
            method, f"{parts.path.rstrip('/')}{paths.REPLICATE}/{path}", skip_accept_encoding=True
        )
        connection.putheader("Authorization", f"Bearer {self._token(errand)}")
        connection.putheader("User-Agent", _AGENT)
        for name, value in current.headers().items():
            connection.putheader(name, value)
        if method == "PUT" and errand.proof is not None:
            connection.putheader(HEADER, errand.proof)

    def _token(self, errand: Errand) -> str:
        now, stored = int(time.time()), errand.stored
        claims = ReplicateClaims(
            iss=self._key.owner,
            aud=errand.target.node_id,
            iat=now,
            nbf=now - TOKEN_LIFE,
            exp=now + TOKEN_LIFE,
            jti=errand.jti,
            file_id=stored.file_id,
            path=stored.path,
            size=stored.size,
            sha256=stored.sha256,
            namespace=stored.namespace,
            owner=stored.owner,
            name=stored.name,
            content_type=stored.content_type,
            committed_at=stored.committed_at,
            app=stored.app,
            expires_at=stored.expires_at,
            held=stored.held,
            scan=is_scanners(stored),
        )
        return mint_replicate(self._key, claims)


@contextmanager
def connected(
    target: RosterNode, trusting: ssl.SSLContext, patience: float = PATIENCE
) -> Iterator[http.client.HTTPConnection]:
    """A connection to a node, with `patience` seconds for each step. Raises OSError."""
    parts = urlsplit(target.public_base_url)
    connection = (
        http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience)
        if parts.scheme == "http"
        else http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=patience, context=trusting
        )
    )
    try:
        connection.connect()
        yield connection
    finally:
        connection.close()


def _offset(answer: http.client.HTTPResponse, size: int) -> int:
    """Where the target wants to go on. Raises HTTPException for what is no place in the file."""
    told = answer.headers.get("Upload-Offset", "")
    if not (told.isascii() and told.isdigit() and len(told) < 19 and int(told) <= size):
        raise http.client.HTTPException(f"the target's Upload-Offset is {told[:40]!r}")
    return int(told)


def _pieces(errand: Errand, offset: int, piece: int) -> Iterator[memoryview]:
    """The file's bytes from `offset` up to its size, the next one read ahead. Raises _Cut."""
    size = errand.stored.size
    if offset == size:
        return
    try:
        if errand.path.stat().st_size != size:
            raise _Cut(Attempt("damaged", "the file has another size than it had"))
        with ReadAhead(errand.path, piece) as reader:
            coming = reader.begin(offset, size)
            while offset < size:
                data = coming.result()
                if not data:
                    raise _Cut(Attempt("damaged", "the file is shorter than it was"))
                offset += len(data)
                if offset < size:
                    coming = reader.begin(offset, size)
                yield data
    except FileNotFoundError:
        raise _Cut(Attempt("damaged", "the file is missing")) from None
    except OSError as error:
        words = f"reading {errand.stored.path}: {error.strerror}"
        damaged = error.errno in DAMAGE
        raise _Cut(Attempt("damaged" if damaged else "failed", words)) from None


def judged(
    connection: http.client.HTTPConnection,
    errand: Errand,
    offset: int,
    failed: OSError | None,
) -> Attempt:
    """What the target's answer means. Raises OSError or HTTPException when there is none.

    A target that refuses closes the connection under what is sent, and its answer may yet be there.
    """
    try:
        answer = connection.getresponse()
        body = answer.read(_MOST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise (failed or error) from None
    if answer.status not in (200, 201):
        slug, detail = _problem(body)
        return refused(answer.status, dict(answer.headers), slug, detail)
    try:
        receipt = StoredFile.model_validate_json(body).receipt
        _check_receipt(receipt, errand)
    except (ValidationError, TokenRefused, ValueError) as error:
        return Attempt("failed", f"the target's receipt doesn't count: {error}")
    return Attempt("done", receipt=receipt, sent=errand.stored.size - offset)


def _check_receipt(receipt: str, errand: Errand) -> None:
    """Raise TokenRefused or ValueError unless it is the target's own word for this very file."""
    target, stored = errand.target, errand.stored
    claims = verify_receipt(receipt, target.keyset, datetime.now(UTC))
    if claims.iss != target.node_id:
        raise ValueError(f"it is {claims.iss!r}'s")
    told = (claims.file_id, claims.path, claims.size, claims.sha256)
    if told != (stored.file_id, stored.path, stored.size, stored.sha256):
        raise ValueError("it is another file's")


def _problem(body: bytes) -> tuple[str, str]:
    """Slug and words of a problem document; empty for anything else."""
    try:
        problem = Problem.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError):
        return "", ""
    return slug_of(problem.type), problem.detail
