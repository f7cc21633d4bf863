"""How far an upload is: the digest of its bytes, and up to where they are known to be on disk.

The digest and the writing run in threads of their own. An offset is recorded only together with the
digest's state at that very offset, so states are kept until the disk has caught up with one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from agent.host.sha256 import Sha256
from agent.incoming.body import Body
from agent.index.uploads import Upload, UploadIndex
from agent.problems import ProblemError
from agent.storage.staging import StagingFile

_MOST_STATES = 1024
"""Of as many buffers the digest's states are kept: more than lie between two syncs."""


class Checkpoint:
    """One request's share of an upload. Offsets count from the upload's own beginning.

    `on_recorded` hears that more of the upload is on disk, before the request ends.
    """

    def __init__(
        self, upload: Upload, uploads: UploadIndex, on_recorded: Callable[[], None]
    ) -> None:
        self._on_recorded = on_recorded
        self._upload = upload
        self._uploads = uploads
        self._digest = _digest_of(upload)
        self._position = upload.offset
        self._lock = threading.Lock()
        self._states: deque[tuple[int, bytes | None]] = deque(maxlen=_MOST_STATES)

    def update(self, data: memoryview) -> None:
        """The next bytes. Parts have no digest: it is their order in the file that counts."""
        if self._digest is not None:
            self._digest.update(data)
        self._position += len(data)
        with self._lock:
            self._states.append((self._position, self._state()))

    def hexdigest(self) -> str:
        """The SHA-256 of all bytes up to now."""
        if self._digest is None:
            raise AssertionError("a part has no digest of its own")
        return self._digest.hexdigest()

    def durable(self, position: int) -> None:
        """The file is on disk up to `position`: record the last digest that lies before it.

        Raises sqlite3.Error when the index can't be written.
        """
        self._record(position - self._upload.start)

    def record(self, staging: StagingFile) -> None:
        """Everything that is written is on disk. Raises as `durable`."""
        self._record(staging.durable - self._upload.start)

    def _record(self, durable: int) -> None:
        found: tuple[int, bytes | None] | None = None
        with self._lock:
            while self._states and self._states[0][0] <= durable:
                found = self._states.popleft()
        if found is None:
            return
        self._uploads.record(self._upload, *found)
        self._on_recorded()

    def _state(self) -> bytes | None:
        return None if self._digest is None else self._digest.state()


def _digest_of(upload: Upload) -> Sha256 | None:
    if upload.kind == "part":
        return None
    if upload.hash_state is None:
        return Sha256()
    return Sha256.from_state(upload.hash_state)


def skip_repeated(
    body: Body, upload: Upload, buffer_size: int, see: Callable[[memoryview], None]
) -> Body:
    """A body that begins at the file's beginning, past what is there already, which `see` is shown.

    Raises ProblemError when it is not the same content, BodyCut when it ends on the way.
    """
    left = upload.offset
    digest = Sha256()
    buffer = memoryview(bytearray(min(buffer_size, max(1, left))))
    while left and (filled := body.fill(buffer[:left])):
        digest.update(buffer[:filled])
        see(buffer[:filled])
        left -= filled
    expected = _digest_of(upload)
    if not left and expected is not None and digest.hexdigest() != expected.hexdigest():
        raise ProblemError(
            "token-used", "this token's upload has begun with other content: get a new token"
        )
    return body
