"""Backing up one file: HEAD first, then one PUT or parts; a cut at any point is gone on with.

Each part is read twice, once for its digests and once, out of the page cache, to be sent. The
service compares MD5 and SHA-256 before it takes a part; ours of the whole file must be the one the
file was stored with before the parts become an object: what the disk has damaged never gets there.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import structlog
from pydantic import ValidationError

from agent.cold.bucket import ColdStore, Digests, Found, PartSeen, SentPart
from agent.cold.meanings import AlreadyThere, UploadGone
from agent.cold.object_format import ColdFile, PartPlan, TooLarge, is_of, keys_of, marker_key, says
from agent.cold.queue import ColdQueue, UploadNote
from agent.cold.said import MOST, Said, changed_key
from agent.host.sha256 import Sha256
from agent.host.supervised_thread import Pulse, patiently
from agent.host.throttle import Throttle
from agent.integrity.inspection import read_attributes
from agent.settings import Cold, Settings
from agent.storage.attributes import Attributes
from portside.names import attributes_path
from portside.quantities import MIB
from portside.wire.files import StoredFile

_log = structlog.get_logger()

ABANDONED = 3600
"""Seconds without a new part after which another node's upload of the same file counts as dead."""

_BLOCK = 1 * MIB

_SHORTEST_WAIT = 0.02
"""Seconds."""


class Stopped(Exception):
    """The worker is to stop: what is begun goes on at the next start."""


class Damaged(Exception):
    """The file on this node isn't what was stored."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a backup ended. `elsewhere`: another node is at this very file, come again later."""

    result: Literal["stored", "there", "elsewhere", "hopeless"]
    address: str = ""
    error: str = ""


class Lane:
    """The tier's share of the network: bytes that all of its threads send. Thread-safe."""

    def __init__(self, rate: int) -> None:
        self._throttle = Throttle(rate)
        self._lock = threading.Lock()
        self.sent = 0

    def enter(self, size: int, pulse: Pulse) -> None:
        """Wait until `size` bytes may be sent. Raises Stopped."""
        with self._lock:
            seconds = self._throttle.take(size)
            self.sent += size
        # A sleep of less would be longer than asked for, and the lane never made use of.
        if seconds > _SHORTEST_WAIT:
            pulse.wait(seconds)
        pulse.beat()
        if pulse.stopped:
            raise Stopped


class _Region:
    """Bytes of a file as the body of a request; sent at the lane's rate. See
    `agent.cold.bucket.Body`."""

    def __init__(self, descriptor: int, start: int, length: int, lane: Lane, pulse: Pulse) -> None:
        self.sending = False
        self.failure: Exception | None = None
        self._descriptor = descriptor
        self._start = start
        self._length = length
        self._position = 0
        self._lane = lane
        self._pulse = pulse

    def digests(self, whole: Sha256) -> Digests:
        """Of these bytes; `whole` takes them in too. Raises OSError, Stopped, Damaged."""
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        self.seek(0)
        while block := self.read(_BLOCK):
            self._pulse.beat()
            if self._pulse.stopped:
                raise Stopped
            for each in (md5, sha256, whole):
                each.update(block)
        if self._position != self._length:
            raise Damaged(f"it ends {self._length - self._position} bytes too early")
        self.seek(0)
        return Digests(md5.digest(), sha256.digest())

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._position
        wanted = left if size < 0 else min(size, left)
        try:
            if self.sending and wanted:
                self._lane.enter(wanted, self._pulse)
            read = os.pread(self._descriptor, wanted, self._start + self._position)
        except (OSError, Stopped) as error:
            # The client library wraps it into an error of its own.
            self.failure = error
            raise
        self._position += len(read)
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def drop_cache(self) -> None:
        """The page cache is for files that are asked for."""
        os.posix_fadvise(self._descriptor, self._start, self._length, os.POSIX_FADV_DONTNEED)


class Backup:
    """Backs up files of one node. Used by several threads, each at a file of its own."""

    def __init__(
        self, settings: Settings, cold: Cold, queue: ColdQueue, store: ColdStore, lane: Lane
    ) -> None:
        self._settings = settings
        self._cold = cold
        self._queue = queue
        self._store = store
        self._lane = lane

    def back_up(self, stored: StoredFile, pulse: Pulse) -> Ended:
        """Bring a committed file into the tier, unless it is there.

        Raises ColdError, OSError, Damaged, sqlite3.Error and Stopped.
        """
        try:
            plan = PartPlan.of(stored.size)
        except TooLarge as error:
            return Ended("hopeless", error=str(error))
        attributes = read_attributes(self._settings.uploads / attributes_path(stored.path))
        if not isinstance(attributes, Attributes) or attributes.file_id != stored.file_id:
            raise Damaged("its attributes can't be read: see `portside-agent fsck`")
        file = ColdFile.of(attributes)
        keys = keys_of(self._cold.prefix, stored.path, stored.file_id)
        for key in keys:
            pulse.beat()
            found = self._store.head(key)
            if found is None:
                return self._send(key, file, stored, plan, pulse)
            if says(found.metadata, found.size, stored):
                self._give_up_upload(stored.file_id)
                if not self._is_said(found, stored):
                    self._queue.order_to_say(stored.file_id)
                return Ended("there", self._cold.address(key))
            if is_of(found.metadata, stored.file_id):
                return Ended("hopeless", error=f"{key} is this file with other content")
        return Ended("hopeless", error=f"{keys[0]} has another object, {keys[1]} too")

    def give_up(self, file_id: str) -> None:
        """End a multipart upload that nothing will go on with. Raises ColdError."""
        self._give_up_upload(file_id)

    def _is_said(self, found: Found, stored: StoredFile) -> bool:
        """Whether an object that another node or release has made tells what is so now."""
        try:
            told = Said.in_metadata(found.metadata)
        except ValidationError:
            return False
        unsaid = Said(held=stored.namespace in self._settings.held)
        return Said.of(stored).is_as(told or unsaid)

    def say(self, stored: StoredFile) -> None:
        """Have the tier know when a file ends and whether it is held. Raises ColdError."""
        key = changed_key(self._cold.prefix, stored.file_id)
        before = Said.in_marker(self._store.marker(key, MOST))
        self._store.put_marker(key, Said.of(stored).after(before).marker())

    def mark_deleted(self, file_id: str, address: str) -> None:
        """Say in the tier that an object's file is deleted. Raises ColdError."""
        key = self._cold.key(address)
        if key is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            text = f"{key}\n{now}\n".encode()
            self._store.put_marker(marker_key(self._cold.prefix, file_id), text)

    def remove(self, file_id: str, address: str) -> None:
        """Remove the object of a deleted file, never another's. Raises ColdError."""
        key = self._cold.key(address)
        if key is None:
            return
        found = self._store.head(key)
        if found is not None and is_of(found.metadata, file_id):
            self._store.delete(key)
            _log.info("cold object removed", file_id=file_id, key=key)
        self._store.delete(marker_key(self._cold.prefix, file_id))
        self._store.delete(changed_key(self._cold.prefix, file_id))

    def _send(
        self, key: str, file: ColdFile, stored: StoredFile, plan: PartPlan, pulse: Pulse
    ) -> Ended:
        descriptor = os.open(
            self._settings.uploads / stored.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        )
        try:
            if os.fstat(descriptor).st_size != stored.size:
                raise Damaged("its length is another")
            if plan.count == 1:
                self._send_whole(descriptor, key, file, pulse)
            elif self._is_at_work_elsewhere(key, file.file_id):
                return Ended("elsewhere", error="another node is uploading it")
            else:
                self._send_parts(descriptor, key, file, plan, pulse)
        except AlreadyThere:
            found = self._store.head(key)
            if found is None or not says(found.metadata, found.size, stored):
                # Another file's: the next attempt takes the other key.
                raise
        finally:
            os.close(descriptor)
        return Ended("stored", self._cold.address(key))

    def _send_whole(self, descriptor: int, key: str, file: ColdFile, pulse: Pulse) -> None:
        body = _Region(descriptor, 0, file.size, self._lane, pulse)
        digest = Sha256()
        digests = body.digests(digest)
        self._must_be(file, digest)
        with _failures_of(body):
            self._store.put(key, body, digests, file.metadata(), file.content_type)

    def _send_parts(
        self, descriptor: int, key: str, file: ColdFile, plan: PartPlan, pulse: Pulse
    ) -> None:
        note, sent, seen = self._resumed(key, file, plan)
        digest = note.digest()
        for number in range(note.done + 1, plan.count + 1):
            body = _Region(descriptor, plan.start(number), plan.length(number), self._lane, pulse)
            digests = body.digests(digest)
            part = _seen_before(seen.get(number), plan.length(number), digests)
            if part is None:
                with _failures_of(body):
                    part = self._store.put_part(key, note.upload_id, number, body, digests)
            body.drop_cache()
            sent.append(part)
            state = base64.b64encode(digest.state()).decode()
            note = note.model_copy(update={"done": number, "state": state})
            patiently(pulse, lambda: self._queue.progressed(file.file_id, note, part))  # noqa: B023
        try:
            self._must_be(file, digest)
        except Damaged:
            self._give_up_upload(file.file_id)
            raise
        pulse.beat()
        self._store.complete(key, note.upload_id, sent)

    def _resumed(
        self, key: str, file: ColdFile, plan: PartPlan
    ) -> tuple[UploadNote, list[SentPart], dict[int, PartSeen]]:
        """The upload to go on with: the one that was cut short if the service still has it."""
        known = self._queue.upload(file.file_id)
        address = self._cold.address(key)
        if known is not None:
            note, sent = known
            if (note.address, note.part_size) == (address, plan.part_size):
                try:
                    seen = self._store.parts(key, note.upload_id)
                except UploadGone:
                    seen = {}
                if _all_there(sent, seen, note.done):
                    _log.info("cold upload goes on", file_id=file.file_id, parts=note.done)
                    return note, sent, seen
            self._give_up_upload(file.file_id)
        upload_id = self._store.begin(key, file.metadata(), file.content_type)
        note = UploadNote(
            address=address,
            upload_id=upload_id,
            part_size=plan.part_size,
            state=base64.b64encode(Sha256().state()).decode(),
        )
        self._queue.progressed(file.file_id, note)
        return note, [], {}

    def _give_up_upload(self, file_id: str) -> None:
        known = self._queue.upload(file_id)
        if known is not None:
            key = self._cold.key(known[0].address)
            if key is not None:
                self._store.abort(key, known[0].upload_id)
        self._queue.forget_upload(file_id)

    def _is_at_work_elsewhere(self, key: str, file_id: str) -> bool:
        """Whether another node sends this key's parts just now. One that died is aborted."""
        known = self._queue.upload(file_id)
        for upload_id, begun in self._store.uploads(key):
            if known is not None and known[0].upload_id == upload_id:
                continue
            try:
                parts = self._store.parts(key, upload_id).values()
            except UploadGone:
                continue
            latest = max((each.modified for each in parts), default=begun)
            if (datetime.now(UTC) - latest).total_seconds() < ABANDONED:
                return True
            _log.warning("abandoned cold upload aborted", file_id=file_id, key=key)
            self._store.abort(key, upload_id)
        return False

    def _must_be(self, file: ColdFile, digest: Sha256) -> None:
        if digest.hexdigest() != file.sha256:
            self._queue.look_again(file.file_id)
            raise Damaged(f"its SHA-256 is {digest.hexdigest()} instead of {file.sha256}")


@contextmanager
def _failures_of(body: _Region) -> Iterator[None]:
    """What went wrong while a body was read goes before what the client library made of it."""
    try:
        yield
    except Exception:
        if body.failure is not None:
            raise body.failure from None
        raise


def _all_there(sent: list[SentPart], seen: dict[int, PartSeen], done: int) -> bool:
    """Whether the service has every part that was noted down."""
    return len(sent) == done and all(
        number in seen and seen[number].etag == part.etag for number, part in enumerate(sent, 1)
    )


def _seen_before(seen: PartSeen | None, length: int, digests: Digests) -> SentPart | None:
    """A part that was stored, its being noted down cut off: its ETag is the MD5 of these bytes.

    Where a service's ETags are something else, it is sent once more.
    """
    if seen is None or seen.size != length or seen.etag.strip('"') != digests.md5.hex():
        return None
    return SentPart(seen.etag, base64.b64encode(digests.sha256).decode())
