"""Takes one attempt at an upload to a Portside node as far as the node lives."""

from __future__ import annotations

import base64
from http import HTTPStatus
from random import Random

from pydantic import ValidationError

from faults.causing import tus
from faults.causing.connection import Answer, Connection
from faults.causing.tus import Refused
from faults.checking.journal import Attempt, Part
from portside.quantities import KIB, MIB
from portside.tokens import TokenRefused, verify_receipt
from portside.wire import paths
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset

_BOUNDARY = "portside-faults-7MA4YWxkTrZu0gW"
_SMALLEST_PIECE = 16 * KIB
_LARGEST_PIECE = 8 * MIB


class Client:
    """One client of a node. Used by one thread."""

    def __init__(self, connection: Connection, receipts: Keyset, random: Random) -> None:
        self._connection = connection
        self._receipts = receipts
        self._random = random

    def advance(self, attempt: Attempt) -> None:
        """Go on with `attempt` until it is acknowledged. Raises NodeGone or Refused."""
        if attempt.way == "put":
            self._put(attempt)
        elif attempt.way == "form":
            self._post_form(attempt)
        elif attempt.way == "tus":
            self._send_whole(attempt)
        else:
            self._send_parts(attempt)

    def check_offsets(self, attempt: Attempt) -> None:
        """Every offset that was told is still there. Raises OffsetForgotten, NodeGone."""
        for part in attempt.parts:
            if part.target is None:
                continue
            try:
                offset = tus.offset_of(self._connection, part.target, _authorized(attempt))
            except Refused as refused:
                # Parts may end with the file that was made of them: its answer will tell.
                if attempt.finishing:
                    continue
                raise OffsetForgotten(f"{part.told} were told of, now {refused}") from None
            if offset < part.told:
                raise OffsetForgotten(f"{part.target}: {part.told} were told of, now {offset}")

    def _put(self, attempt: Attempt) -> None:
        headers = _authorized(attempt)
        answer = self._connection.ask(
            "PUT", f"{paths.UPLOAD}/{attempt.name}", headers, attempt.content.data
        )
        self._take(attempt, answer)

    def _post_form(self, attempt: Attempt) -> None:
        before = (
            f"--{_BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{attempt.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode("ascii")
        after = f"\r\n--{_BOUNDARY}--\r\n".encode("ascii")
        headers = {
            **_authorized(attempt),
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        }
        body = b"".join((before, attempt.content.data, after))
        self._take(attempt, self._connection.ask("POST", paths.UPLOAD, headers, body))

    def _send_whole(self, attempt: Attempt) -> None:
        (part,) = attempt.parts
        if part.target is None:
            attempt.finishing = part.content.size == 0
            answer = self._create(attempt, part)
            if self._is_stored(answer):
                self._take(attempt, answer)
                return
        # All bytes may have been taken before the crash: asked again, the node says what became
        # of them.
        self._take(attempt, self._send(attempt, part) or self._create(attempt, part))

    def _send_parts(self, attempt: Attempt) -> None:
        if not attempt.finishing:
            for part in attempt.parts:
                if part.target is None:
                    self._create(attempt, part, {"Upload-Concat": "partial"})
            for part in self._random.sample(attempt.parts, len(attempt.parts)):
                self._send(attempt, part)
        targets = [part.target for part in attempt.parts if part.target is not None]
        attempt.finishing = True
        self._take(
            attempt,
            tus.concatenate(
                self._connection, paths.RESUMABLE_UPLOADS, targets, _described(attempt)
            ),
        )

    def _create(self, attempt: Attempt, part: Part, extra: dict[str, str] | None = None) -> Answer:
        headers = {**_described(attempt), **(extra or {})}
        answer = tus.create(self._connection, paths.RESUMABLE_UPLOADS, part.content.size, headers)
        part.target = tus.target_in(answer)
        return answer

    def _send(self, attempt: Attempt, part: Part) -> Answer | None:
        """PATCH what is missing of a part, in pieces. The answer to the last of them, if any."""
        assert part.target is not None  # noqa: S101 (made before)
        headers = _authorized(attempt)
        offset = tus.offset_of(self._connection, part.target, headers)
        if not part.told <= offset <= part.content.size:
            said = f"{part.told} of {part.content.size} bytes were told of, now {offset}"
            raise OffsetForgotten(f"{part.target}: {said}")
        part.told = max(part.told, offset)
        answer = None
        whole = len(attempt.parts) == 1
        while offset < part.content.size:
            end = min(offset + self._piece(), part.content.size)
            attempt.finishing = whole and end == part.content.size
            data = part.content.part(offset, end).data
            answer = tus.append(self._connection, part.target, offset, data, headers)
            offset = tus.offset_in(answer)
            if offset != end:
                raise Refused(f"PATCH up to {end}", answer)
            part.told = offset
        return answer

    def _piece(self) -> int:
        return self._random.randrange(_SMALLEST_PIECE, _LARGEST_PIECE)

    def _take(self, attempt: Attempt, answer: Answer) -> None:
        """Write down what was acknowledged. Raises Refused for anything else."""
        if not self._is_stored(answer):
            raise Refused(attempt.way, answer)
        stored = StoredFile.model_validate_json(answer.body)
        try:
            receipt = verify_receipt(stored.receipt, self._receipts)
        except TokenRefused as error:
            raise Refused(f"receipt refused ({error})", answer) from None
        said = (receipt.jti, receipt.file_id, receipt.sha256, receipt.size, receipt.path)
        sent = attempt.claims.jti, attempt.claims.file_id
        if said != (*sent, attempt.content.sha256, attempt.content.size, stored.path):
            raise Refused("a receipt for something else", answer)
        attempt.stored = stored

    def _is_stored(self, answer: Answer | None) -> bool:
        if answer is None or answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            return False
        try:
            StoredFile.model_validate_json(answer.body)
        except ValidationError:
            return False
        return True


class OffsetForgotten(Exception):
    """A node tells less of an upload than it told before."""


def _authorized(attempt: Attempt) -> dict[str, str]:
    return {"Authorization": f"Bearer {attempt.token}"}


def _described(attempt: Attempt) -> dict[str, str]:
    return {**_authorized(attempt), "Upload-Metadata": f"filename {_encoded(attempt.name)}"}


def _encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode("ascii")
