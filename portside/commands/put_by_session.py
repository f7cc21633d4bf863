"""`portside put` through the control plane: a session for each file, and its copies awaited."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from portside.backoff import Backoff
from portside.client.control import Control
from portside.client.http.errors import ControlError, ControlRefused, ControlUnavailable
from portside.client.progress import display
from portside.client.upload.placed import BySession, put_stream_by_session
from portside.client.upload.source import size_of
from portside.commands.common import printable, say
from portside.commands.sending import WHEN_SENT, Manner, Teller, checksum_within, stream_upload
from portside.quantities import format_duration
from portside.wire.control import FileView, SessionRequest
from portside.wire.files import StoredFile

POLLS = Backoff(first=0.25, longest=3.0, spread=(0.75, 1.0))
"""Between looks at a file that isn't safe yet: small ones take a moment only."""


class NotSafe(Exception):
    """The file is stored on its node, but has fewer copies than it should."""


@dataclass(frozen=True, slots=True)
class ThroughControl:
    """Files go where the control plane says, or to `node`, if it takes them; `ca` is trusted there.

    `wait` is how many seconds to wait until a file has as many copies as it should; None: not.
    """

    control: Control
    ca: Path | None
    manner: Manner
    wait: int | None
    node: str | None = None

    def store(self, path: Path) -> StoredFile:
        """Store one file. Raises UploadError, ControlError and ValueError."""
        size, manner = size_of(path), self.manner
        if size is None:
            return self._store_stream(path)
        name = manner.name_of(path)
        with display(printable(name), size, WHEN_SENT) as shown:

            def wish() -> SessionRequest:
                # Only where an upload begins is the file read before.
                sha256 = checksum_within(path, shown) if manner.checksum else None
                return _request_for(name, size, sha256, manner, self.node)

            upload = BySession(
                self.control,
                path,
                wish,
                identity=(*manner.identity, *(() if self.node is None else (self.node,))),
                ca=self.ca,
                in_pieces=manner.resumable(size),
                parallel=manner.parallel,
                resume=manner.resume,
                watcher=Teller(shown),
            )
            try:
                return upload.put()
            except KeyboardInterrupt:
                if manner.resumable(size):
                    shown.say("the same command again goes on from here")
                raise

    def _store_stream(self, path: Path) -> StoredFile:
        with stream_upload(path, self.manner) as upload:
            name, size = self.manner.name_of(path), upload.size()
            wish = _request_for(name, size, None, self.manner, self.node)
            return put_stream_by_session(self.control, upload, wish, self.ca, say)

    def settle(self, path: Path, stored: StoredFile) -> FileView | None:
        """Tell the control plane of a stored file, which may have heard of it already, and wait.

        Raises NotSafe and ControlError where a wait was wished for.
        """
        view = _registered(path, stored, self.control)
        if self.wait is None:
            return view
        return _safe(path, stored, self.control, view, self.wait)


def _request_for(
    name: str, size: int | None, sha256: str | None, manner: Manner, node: str | None
) -> SessionRequest:
    """What to ask the control plane for. Raises ValueError, in words for people."""
    try:
        return SessionRequest(
            owner=manner.owner,
            name=name,
            namespace=manner.namespace,
            layout=manner.layout,
            size=size,
            max_size=manner.max_size if size is None else None,
            sha256=sha256,
            node_id=node,
            expires_in=manner.expires_in,
        )
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {what}") from None


def _registered(path: Path, stored: StoredFile, control: Control) -> FileView | None:
    """Hand the receipt over. The node does that as well, so that failing is no failure."""
    try:
        return control.register(stored.receipt)
    except ControlError as error:
        say(f"{path}: stored, but the control plane wasn't told: {error}; its node tells it too")
        return None


def _safe(
    path: Path, stored: StoredFile, control: Control, view: FileView | None, seconds: int
) -> FileView:
    """Wait until the file has all its copies, saying how far that is. Raises NotSafe."""
    gives_up = time.monotonic() + seconds
    looks, told = 0, ""
    while True:
        now = _told(view)
        if now != told:
            say(f"{path.name}: {now}")
            told, looks = now, 0
        if view is not None and view.state == "safe":
            return view
        if view is not None and view.state in ("deleted", "lost"):
            raise NotSafe(f"stored on {stored.node_id}, but meanwhile {view.state}")
        if time.monotonic() >= gives_up:
            raise NotSafe(
                f"stored on {stored.node_id}, but not safe after {format_duration(seconds)} "
                f"({now}): `portside nodes` tells how the other nodes are"
            )
        looks += 1
        time.sleep(min(POLLS.pause(looks), max(0.0, gives_up - time.monotonic())))
        view = _looked_up(stored.file_id, control)


def _looked_up(file_id: str, control: Control) -> FileView | None:
    """The file as the control plane knows it; None while it doesn't, or can't be asked."""
    try:
        return control.file(file_id)
    except ControlUnavailable:
        return None
    except ControlRefused as refused:
        if refused.problem.status == 404:
            return None
        raise


def _told(view: FileView | None) -> str:
    if view is None:
        return "the control plane doesn't know of it yet"
    copies = ", ".join(f"{copy.node_id} {copy.state}" for copy in view.copies)
    return f"{view.state} ({copies})" if copies else view.state
