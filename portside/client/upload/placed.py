"""Uploading a file to the node that the control plane names, and to another when that one is gone.

The session is noted under `$XDG_STATE_HOME/portside/sessions` before a byte travels: the next run
for the same file goes on with it, on the node that has the bytes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from portside.backoff import Backoff, spread
from portside.client.control import Control
from portside.client.http.errors import (
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadGone,
    slug_of,
)
from portside.client.upload.body import OpenFile
from portside.client.upload.resume import put_resumable
from portside.client.upload.single import UploadClient
from portside.client.upload.state import Begun, StateFile, facts_of, state_folder
from portside.client.upload.streamed import StreamUpload
from portside.client.watcher import Watcher
from portside.wire.control import Session, SessionRequest
from portside.wire.files import StoredFile

ATTEMPTS = 8
"""Sessions that are asked for one after the other, none of whose nodes took a byte."""

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 20.0

_AVOIDED = 16
"""Nodes that a request may name as gone."""

MakeRequest = Callable[[], SessionRequest]
"""What to ask for; called only where no earlier run's session is gone on with."""


class KeptSession(Begun):
    """A session and whether its node may hold bytes of the file already."""

    session: Session = Field(repr=False)
    has_bytes: bool = False


class BySession:
    """One file to wherever the control plane sends it.

    `identity` tells uploads of a file apart that are to end up as different files. `in_pieces`
    says to use an upload that can be resumed, in `parallel` connections. `ca` is trusted for the
    nodes instead of the system's authorities. Without `resume` nothing is noted.
    """

    def __init__(
        self,
        control: Control,
        path: Path,
        wish: MakeRequest,
        *,
        identity: tuple[str, ...],
        ca: Path | None = None,
        in_pieces: bool = True,
        parallel: int = 1,
        resume: bool = True,
        watcher: Watcher,
    ) -> None:
        self._control = control
        self._path = path
        self._wish = wish
        self._identity = (str(path.resolve()), control.url, *identity)
        self._ca = ca
        self._in_pieces = in_pieces
        self._parallel = parallel
        self._resume = resume
        self._watcher = watcher
        self._gone: list[str] = []

    def put(self) -> StoredFile:
        """Store the file and return what its node signed for.

        Raises ControlError, and what `put_resumable` raises.
        """
        with OpenFile(self._path) as file:
            if not self._resume:
                return self._stored(file, None)
            folder = state_folder("sessions")
            with StateFile(folder, self._identity, KeptSession) as kept:
                return self._stored(file, kept)

    def _stored(self, file: OpenFile, kept: StateFile[KeptSession] | None) -> StoredFile:
        state = self._left_over(file, kept)
        renewed = False
        while True:
            state = state or self._asked(file, kept)
            watch = _FirstByte(self._watcher, state, kept)
            try:
                stored = self._send(state.session, watch)
            except NodeUnavailable as reason:
                self._must_be_replaceable(state, watch, reason)
                self._pause(state.session.node_id, reason)
            except (Refused, ReceiptRefused) as refused:
                if renewed or not _is_over(refused, watch):
                    self._end(kept, refused)
                    raise
                renewed = True
                self._watcher.say(f"{refused}: starting over with another session")
                self._watcher.back_at(0)
            else:
                if kept is not None:
                    kept.clear()
                return stored
            state = None

    def _left_over(self, file: OpenFile, kept: StateFile[KeptSession] | None) -> KeptSession | None:
        """The session that an earlier run has left to go on with."""
        state = kept.read() if kept is not None else None
        if state is not None and not state.is_of(file):
            self._watcher.say("has changed since an earlier run: starting anew")
            return None
        return state

    def _asked(self, file: OpenFile, kept: StateFile[KeptSession] | None) -> KeptSession:
        """A new session, noted before it is used."""
        wish = self._wish().model_copy(update={"avoid": tuple(self._gone[-_AVOIDED:])})
        session = self._control.session(wish, secrets.token_urlsafe(16))
        state = KeptSession(
            **facts_of(file), deadline=int(session.session_deadline.timestamp()), session=session
        )
        if kept is not None:
            kept.write(state)
        return state

    def _send(self, session: Session, watch: _FirstByte) -> StoredFile:
        client = UploadClient(session.upload_api_url, self._ca)
        try:
            if self._in_pieces:
                return put_resumable(
                    client, self._path, session.token, parallel=self._parallel, watcher=watch
                )
            return client.put(
                self._path, session.token, on_progress=watch.sent, on_wait=watch.waiting
            )
        finally:
            client.close()

    def _must_be_replaceable(
        self, state: KeptSession, watch: _FirstByte, reason: NodeUnavailable
    ) -> None:
        """Raise `reason` where another node is no help."""
        if watch.has_begun:
            if not self._resume:
                raise reason
            raise NodeUnavailable(
                f"{reason}; the same command goes on there, with --no-resume it starts over on "
                "whichever node is there",
                reason.problem,
                reason.retry_after,
                reason.passing,
            )
        no_trust = reason.problem is None and not reason.passing
        if no_trust or len(self._gone) + 1 >= ATTEMPTS:
            raise reason

    def _pause(self, node_id: str, reason: NodeUnavailable) -> None:
        """Go to another node at once, to one that was asked before after a while."""
        again = node_id in self._gone
        self._gone.append(node_id)
        said = f"{node_id} took no byte ({reason}): asking for another session"
        if not again:
            self._watcher.say(said)
            return
        doubled = Backoff(SHORTEST_PAUSE, LONGEST_PAUSE).most(len(self._gone) - 1)
        pause = spread(min(max(doubled, reason.retry_after or 0.0), LONGEST_PAUSE), (0.7, 1.0))
        self._watcher.waiting(pause, reason)
        time.sleep(pause)

    def _end(self, kept: StateFile[KeptSession] | None, refused: Refused | ReceiptRefused) -> None:
        """Nothing can come of this session: the next run is to start anew.

        But a node that doesn't know who asks (401) may yet be told, and have kept the bytes.
        """
        unknown = isinstance(refused, Refused) and refused.problem.status == 401
        if kept is not None and not unknown:
            kept.clear()


def put_stream_by_session(
    control: Control,
    upload: StreamUpload,
    wish: SessionRequest,
    ca: Path | None,
    say: Callable[[str], None],
) -> StoredFile:
    """Bring a stream to a node of the control plane's choice: the first that begins with it.

    Raises as `StreamUpload.put`, and ControlError.
    """
    gone: list[str] = []
    while True:
        asked = wish.model_copy(update={"avoid": tuple(gone[-_AVOIDED:])})
        session = control.session(asked, secrets.token_urlsafe(16))
        client = UploadClient(session.upload_api_url, ca)
        try:
            return upload.put(client, session.token, patiently=False)
        except NodeUnavailable as reason:
            no_trust = reason.problem is None and not reason.passing
            if upload.has_begun or no_trust or session.node_id in gone:
                raise
            gone.append(session.node_id)
            say(f"{session.node_id} took no byte ({reason}): asking for another session")
        finally:
            client.close()


class _FirstByte(Watcher):
    """Passes on what happens, and notes the first byte; before it, nobody waits for a node."""

    def __init__(
        self, watcher: Watcher, state: KeptSession, kept: StateFile[KeptSession] | None
    ) -> None:
        self.has_begun = state.has_bytes
        self._watcher = watcher
        self._state = state
        self._kept = kept

    def sent(self, count: int) -> None:
        self._begin(count)
        self._watcher.sent(count)

    def back_at(self, count: int) -> None:
        self._begin(count)
        self._watcher.back_at(count)

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        if not self.has_begun:
            raise reason
        self._watcher.waiting(seconds, reason)

    def say(self, text: str) -> None:
        self._watcher.say(text)

    def _begin(self, count: int) -> None:
        if count and not self.has_begun:
            self.has_begun = True
            if self._kept is not None:
                self._kept.write(self._state.model_copy(update={"has_bytes": True}))


def _is_over(refused: Refused | ReceiptRefused, watch: _FirstByte) -> bool:
    """Whether the session's time is over on its node, so that only another one helps."""
    if isinstance(refused, UploadGone):
        return True
    expired = isinstance(refused, Refused) and slug_of(refused.problem) == "token-expired"
    return expired and not watch.has_begun
