"""One run of a resumable upload: begin it, or go on where an earlier run ended, to the receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from portside.client.http.errors import ReceiptRefused, Refused, UploadError, UploadGone
from portside.client.http.node import NodeClient
from portside.client.http.retry import Patience
from portside.client.upload.body import OpenFile
from portside.client.upload.hashing import ContentHash
from portside.client.upload.parallel import Parts, part_size_for, ranges
from portside.client.upload.receipt import Sent, check_receipt
from portside.client.upload.single import UploadClient, stored_before
from portside.client.upload.state import StateFile, UploadState, facts_of, state_folder
from portside.client.upload.transfer import Transfer
from portside.client.upload.tus import Uploads
from portside.client.watcher import Watcher
from portside.tokens import unverified_claims
from portside.wire.files import StoredFile

_SILENT = Watcher()

_FEWEST_WORKERS = 2
"""For an upload that was begun in parts, when it is gone on with by a command that says nothing."""

Claims = Mapping[str, Any]
"""What a token says; the node is who verifies it."""


def put_resumable(
    client: UploadClient,
    path: Path,
    token: str | Callable[[], str],
    *,
    kind: Sequence[str] = (),
    name: str | None = None,
    sha256: str | None = None,
    parallel: int = 1,
    watcher: Watcher = _SILENT,
) -> StoredFile:
    """Upload the file at `path`, through cuts and restarts, and return what the node stored.

    `token` is one that was given, or makes a new one for this file at each call; `kind` tells
    uploads of a file apart whose tokens are made: another namespace is another upload. `name`
    replaces the file's own where the token has none. `sha256` (hex), if known ahead, is checked by
    the node as well. With `parallel` threads, large files travel in parts. The receipt is verified.

    Cuts are mended until ten attempts have brought no byte. Until the upload is finished, a file
    under `state_folder()` holds what the next call for the same file needs to go on with it. Raises
    LocalFileError, Refused, NodeUnavailable, ReceiptRefused, AlreadyRunning, and TokenRefused for a
    token that is none.
    """
    given = token if isinstance(token, str) else None
    told_apart = kind if given is None else ("token", str(unverified_claims(given).get("jti")))
    identity = (str(path.resolve()), client.base_url, *told_apart)
    # Asked first: a wrong URL or CA shows before the first gigabyte.
    client.node_keys()
    with OpenFile(path) as file, StateFile(state_folder(), identity, UploadState) as state_file:
        run = _Run(
            client.node,
            file,
            state_file,
            token,
            name or path.name,
            sha256,
            parallel,
            watcher,
        )
        return run.to_the_end()


@dataclass(frozen=True, slots=True)
class _Run:
    node: NodeClient
    file: OpenFile
    state_file: StateFile[UploadState]
    token: str | Callable[[], str]
    name: str
    sha256: str | None
    parallel: int
    watcher: Watcher

    def to_the_end(self) -> StoredFile:
        """Finish the upload, starting over once where that is needed and possible."""
        try:
            try:
                return self._go_on(self._left_over())
            except UploadGone as gone:
                if isinstance(self.token, str):
                    raise
                self.watcher.say(f"{gone}: starting over")
                self.watcher.back_at(0)
                self._discard(self.state_file.read())
                return self._go_on(None)
        except (Refused, ReceiptRefused) as refused:
            # Nothing can come of it any more: the next run is to start anew. But a node that
            # doesn't know who asks (401) may yet be told, and have kept the bytes.
            if not (isinstance(refused, Refused) and refused.problem.status == 401):
                self.state_file.clear()
            raise

    def _left_over(self) -> UploadState | None:
        """What an earlier run has left to go on with."""
        state = self.state_file.read()
        if state is None:
            return None
        if not state.is_of(self.file):
            self.watcher.say("has changed since an earlier run: starting anew")
        elif state.is_complete:
            return state
        # Where only some parts were created, one more may have been, unheard, and have its place.
        self._discard(state)
        return None

    def _go_on(self, state: UploadState | None) -> StoredFile:
        begun = state is not None
        state = state or self._new_state()
        claims = unverified_claims(state.token)
        uploads = Uploads(self.node, state.token)
        with ContentHash(self.file) as content:
            send = self._send_whole if state.part_size is None else self._send_parts
            stored = send(uploads, state, claims, content, begun)
            sent = Sent.of(claims, self.file.size, content.sha256())
        check_receipt(stored, self.node.keys_for(stored.receipt), sent)
        self.state_file.clear()
        return stored

    def _new_state(self) -> UploadState:
        """A token, and what becomes of it, on disk before the first byte is sent."""
        token = self.token if isinstance(self.token, str) else self.token()
        claims = unverified_claims(token)
        part_size = part_size_for(self.file.size, self.parallel) if self.parallel > 1 else None
        if part_size is not None and part_size >= self.file.size:
            part_size = None
        state = UploadState(
            **facts_of(self.file),
            node=self.node.base_url,
            namespace=str(claims.get("namespace")),
            token=token,
            deadline=_deadline(claims),
            part_size=part_size,
        )
        self.state_file.write(state)
        return state

    def _send_whole(
        self,
        uploads: Uploads,
        state: UploadState,
        claims: Claims,
        content: ContentHash,
        begun: bool,
    ) -> StoredFile:
        size = self.file.size
        if not begun:
            created = self._create(uploads, claims)
            if isinstance(created, StoredFile):
                return created
            state = self._noted(state, created)
        # A token that was given may have been used elsewhere: what the node holds has to be asked.
        new = not begun and not isinstance(self.token, str)
        watch = _OneUpload(size, content, self.watcher, resuming=not new)
        transfer = Transfer(
            self.file, 0, size, state.places[0], 0 if new else None, watch.sent, watch.held
        )
        stored = transfer.run(uploads, self._patience()) or self._create(uploads, claims)
        if isinstance(stored, StoredFile):
            return stored
        raise ReceiptRefused("the node holds every byte, but tells of no stored file")

    def _send_parts(
        self,
        uploads: Uploads,
        state: UploadState,
        claims: Claims,
        content: ContentHash,
        begun: bool,
    ) -> StoredFile:
        part_size = state.part_size or self.file.size
        if not begun:
            state = self._create_parts(uploads, state, part_size, claims)
        held = None if begun else 0
        parts = Parts(self.file, part_size, state.places, held, content, self.watcher)
        if begun:
            already = parts.ask(uploads, self._patience())
            self.watcher.say(_resuming(already, self.file.size))
        parts.run(self.node, state.token, max(self.parallel, _FEWEST_WORKERS))
        name = self._name(claims)
        return self._patience().call(lambda: uploads.finish(state.places, name, self.sha256))

    def _create(self, uploads: Uploads, claims: Claims) -> str | StoredFile:
        name = self._name(claims)
        try:
            return self._patience().call(lambda: uploads.create(self.file.size, name, self.sha256))
        except Refused as refused:
            file_id = str(claims.get("file_id"))
            return stored_before(self.node, file_id, self.file.path, refused)

    def _create_parts(
        self, uploads: Uploads, state: UploadState, part_size: int, claims: Claims
    ) -> UploadState:
        name = self._name(claims)
        for number, (start, end) in enumerate(ranges(self.file.size, part_size)):
            create = partial(uploads.create, end - start, name, part=number)
            created = self._patience().call(create)
            if isinstance(created, StoredFile):
                raise ReceiptRefused("the node tells of a stored file before a byte was sent")
            state = self._noted(state, created)
        return state

    def _noted(self, state: UploadState, place: str) -> UploadState:
        state = state.model_copy(update={"places": (*state.places, place)})
        self.state_file.write(state)
        return state

    def _discard(self, state: UploadState | None) -> None:
        """Give back the space of an upload that nobody goes on with."""
        if state is None:
            return
        uploads = Uploads(self.node, state.token)
        # Out of courtesy: at the upload's deadline the node does the same by itself.
        with suppress(UploadError):
            for place in state.places:
                uploads.discard(place)
        self.state_file.clear()

    def _name(self, claims: Claims) -> str:
        return str(claims.get("name") or self.name)

    def _patience(self) -> Patience:
        return Patience(self.watcher.waiting)


class _OneUpload:
    """Tells watcher and hash how far an upload is that isn't in parts."""

    def __init__(self, size: int, content: ContentHash, watcher: Watcher, resuming: bool) -> None:
        self._size = size
        self._content = content
        self._watcher = watcher
        self._resuming = resuming

    def sent(self, count: int) -> None:
        self._content.allow(count)
        self._watcher.sent(count)

    def held(self, count: int) -> None:
        self._content.allow(count)
        if self._resuming and count:
            self._watcher.say(_resuming(count, self._size))
        self._resuming = False
        self._watcher.back_at(count)


def _resuming(held: int, size: int) -> str:
    return f"resuming at {100 * held // size if size else 100} %"


def _deadline(claims: Claims) -> int:
    """Until when the upload may go on, as Unix seconds."""
    times = (claims.get("exp"), claims.get("session_deadline"))
    return max((moment for moment in times if isinstance(moment, int)), default=0)
