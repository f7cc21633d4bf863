"""Fetching a file from whichever nodes have it: verified while it is written, through cuts.

The control plane names a node that serves it. When that one fails, another goes on where it ended:
a file's bytes are the same everywhere, and its SHA-256, which the control plane tells, decides.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from portside.backoff import Backoff, spread
from portside.client.control import Control
from portside.client.download.output import Output
from portside.client.http.answers import (
    innermost,
    must_keep_secrets,
    problem_of,
    retry_after,
)
from portside.client.http.errors import DamagedCopy, DownloadError, describe
from portside.client.http.session import Session, read
from portside.client.http.trust import trusted_authorities
from portside.client.progress import Display
from portside.quantities import format_duration
from portside.wire.control import FileUrl, FileView

BLOCK = 256 * 1024
"""Bytes of one read; as much may be lost of what had arrived when a connection is cut."""

CONNECT_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A node that sends no byte for this long is gone."""

ATTEMPTS = 8
"""Failures in a row, none of which brought a byte, before a download is given up."""

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 15.0

_EARLIER_RUN = "an earlier run"

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class _SourceFailed(Exception):
    """This node doesn't serve the file now."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


def fetch(
    control: Control, view: FileView, output: Output, ca: Path | None, shown: Display
) -> None:
    """Bring a committed file to `output`.

    What a file has when this fails is gone on with by the next call. Raises DamagedCopy when no
    node's copy is the file, other DownloadErrors, ControlError, LocalFileError, AlreadyRunning and
    OutputClosed.
    """
    with output as part, Session() as session:
        _Fetch(control, view, part, session, trusted_authorities(ca), shown).run()
        part.finish()


class _Fetch:
    def __init__(
        self,
        control: Control,
        view: FileView,
        part: Output,
        session: Session,
        trusted: bool | str,
        shown: Display,
    ) -> None:
        if view.size is None or view.sha256 is None:
            raise DownloadError(f"{view.file_id}: is not stored yet: its state is {view.state}")
        self._control = control
        self._file_id = view.file_id
        self._size = view.size
        self._sha256 = view.sha256
        self._copies = len(view.copies)
        self._part = part
        self._session = session
        self._trusted = trusted
        self._shown = shown
        self._failing: set[str] = set()
        """Nodes that failed since a byte last came, or since every one was asked."""
        self._damaged: set[str] = set()
        self._origins: set[str] = set()
        """Where the bytes of the part came from."""
        self._in_vain = 0

    def run(self) -> None:
        """Fetch every byte, and be sure of them."""
        self._part.take_over(self._size)
        if self._part.size:
            self._origins.add(_EARLIER_RUN)
            self._shown.say(f"resuming at {100 * self._part.size // max(self._size, 1)} %")
            self._shown.back_at(self._part.size)
        while not self._is_whole():
            source = self._control.file_url(
                self._file_id, tuple(sorted(self._failing | self._damaged))
            )
            if source.node_id in self._damaged:
                # The control plane knows no copy beside those that were seen to be damaged.
                raise self._only_damaged()
            before = self._part.size
            try:
                self._stream(source)
            except _SourceFailed as failed:
                if self._part.size > before:
                    self._in_vain, self._failing = 0, set()
                self._fail_over(source.node_id, failed)

    def _is_whole(self) -> bool:
        """Whether all bytes are here and right; wrong ones are thrown away."""
        if self._part.size < self._size:
            return False
        if self._part.sha256 == self._sha256:
            return True
        origins, self._origins = self._origins, set()
        if len(origins) == 1 and not origins & {_EARLIER_RUN}:
            self._damaged |= origins
        if not self._part.can_begin_anew:
            raise DamagedCopy(
                f"{self._file_id}: what came from {', '.join(sorted(origins))} is damaged: its "
                "SHA-256 is another, and it was written already: don't use it"
            )
        self._part.clear()
        if not self._size:
            raise self._only_damaged()
        self._shown.say(
            f"what came from {', '.join(sorted(origins))} is damaged: its SHA-256 is another; "
            "fetching it anew"
        )
        if len(self._damaged) >= max(self._copies, 1):
            raise self._only_damaged()
        self._shown.back_at(0)
        return False

    def _stream(self, source: FileUrl) -> None:
        """Add what the node sends from where the part ends. Raises _SourceFailed."""
        try:
            must_keep_secrets(source.url, f"{source.node_id}'s")
        except ValueError as error:
            # Its query may hold a token: it isn't quoted.
            raise _SourceFailed(f"{source.node_id}: {str(error).rpartition(': ')[2]}") from None
        begun = self._part.size
        headers = {"Accept-Encoding": "identity"}
        if begun:
            headers["Range"] = f"bytes={begun}-"
        try:
            with self._session.get(
                source.url,
                headers=headers,
                stream=True,
                timeout=(CONNECT_SECONDS, STALL_SECONDS),
                verify=self._trusted,
                allow_redirects=False,
            ) as answer:
                self._check(answer, source.node_id, begun)
                while block := answer.raw.read(BLOCK, decode_content=False):
                    if self._part.size + len(block) > self._size:
                        raise self._of_another_size(source.node_id)
                    self._part.append(block)
                    self._origins.add(source.node_id)
                    self._shown.sent(self._part.size)
        except requests.exceptions.SSLError as error:
            raise _SourceFailed(
                f"{source.node_id}: its certificate or TLS is not accepted: {innermost(error)}; "
                "name the CA to trust: `portside login URL --ca FILE`, or PORTSIDE_CA"
            ) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            host = urlsplit(source.url).netloc
            raise _SourceFailed(
                f"{source.node_id} ({host}): no connection after {self._part.size} of {self._size} "
                f"bytes: {innermost(error)}"
            ) from None
        if self._part.size < self._size:
            raise _SourceFailed(f"{source.node_id}: ended after {self._part.size} bytes")

    def _check(self, answer: requests.Response, node_id: str, begun: int) -> None:
        """Be sure that the answer's body is the file's rest, or all of it."""
        if answer.status_code not in (200, 206):
            read(answer)
            raise _SourceFailed(f"{node_id}: {describe(problem_of(answer))}", retry_after(answer))
        if answer.status_code == 206:
            told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            expected = (begun, self._size - 1, self._size)
            if told is None or tuple(map(int, told.groups())) != expected:
                raise _SourceFailed(f"{node_id}: sends another range than was asked for")
        elif begun and not self._part.can_begin_anew:
            raise _SourceFailed(f"{node_id}: sends no part of a file, but only all of it")
        elif begun:
            self._part.clear()
            self._origins.clear()
            self._shown.back_at(0)
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise _SourceFailed(
                f"{node_id}: the answer is encoded ({encoding}), which wasn't asked for; it may be "
                "from a proxy in between"
            )
        # A proxy may send the body on in chunks, without a length: it is counted as it comes.
        length = answer.headers.get("Content-Length")
        if length not in (None, str(self._size - self._part.size)):
            raise self._of_another_size(node_id)

    def _of_another_size(self, node_id: str) -> _SourceFailed:
        return _SourceFailed(f"{node_id}: its copy has another size than the file")

    def _fail_over(self, node_id: str, failed: _SourceFailed) -> None:
        """Go to another node at once, and to one that has failed before after a while."""
        self._in_vain += 1
        if self._in_vain >= max(ATTEMPTS, 2 * self._copies):
            goes_on = (
                f"; the same command goes on from {self._part.size} bytes"
                if self._part.can_begin_anew
                else f"; {self._part.size} of {self._size} bytes were written"
            )
            raise DownloadError(f"{failed}; given up after {self._in_vain} attempts{goes_on}")
        again = node_id in self._failing
        self._failing.add(node_id)
        if not again and len(self._failing | self._damaged) < self._copies:
            self._shown.say(f"{failed}: going on from another node")
            return
        self._failing.clear()
        doubled = Backoff(SHORTEST_PAUSE, LONGEST_PAUSE).most(self._in_vain)
        pause = spread(min(max(doubled, failed.pause or 0.0), LONGEST_PAUSE), (0.7, 1.0))
        self._shown.stalled(f"{failed}; trying again in {format_duration(pause)}")
        time.sleep(pause)

    def _only_damaged(self) -> DamagedCopy:
        asked = ", ".join(sorted(self._damaged)) or "none asked"
        return DamagedCopy(
            f"{self._file_id}: no node has a copy with the file's SHA-256 ({asked}): tell the "
            "operator, who can have them verified and copied again"
        )
