"""One ledger for what running uploads may take: slots, memory, disk, quotas, names and tokens.

An upload is admitted only when everything it can come to need is there, so that none fails half-way
for memory or space. The same numbers answer the preflight, the upload itself and upload-status.
While an old process finishes its uploads, it and the new one count what both have given
(`agent.uploads.shared`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType

from agent.host import machine
from agent.host.spare_threads import SpareThreads
from agent.incoming.body import Body, OpenBody
from agent.incoming.receiving import Receiving
from agent.index.usage import Used
from agent.problems import ProblemError
from agent.uploads.bandwidth import Bandwidth
from agent.uploads.disk_space import Begun, DiskSpace
from agent.uploads.quotas import Claim, Grown, Quotas, Usage, grown_to
from agent.uploads.shared.entries import Elsewhere, Entry, place_of
from agent.uploads.shared.ledger import SharedLedger
from agent.uploads.shares import Kind, Sender, SlotShares
from agent.uploads.slots import Slots
from portside.cluster.bandwidth import BandwidthLimits
from portside.quantities import format_size
from portside.sizing import Sizing
from portside.wire.status import (
    BandwidthStatus,
    DiskStatus,
    MemoryStatus,
    SlotStatus,
)

MAKING_WAY = 4.0
"""Seconds that a newcomer waits for an idle upload to end: its bytes are made durable first."""


LOOK = 0.2
"""Seconds after which it looks again."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one upload asks for: its path if that is known, bytes of disk; `key` tells it apart.

    `inodes` are those that it may need; of files that resumable uploads have begun the index tells.
    """

    key: str
    path: PurePosixPath | None
    disk: int
    kind: Kind = "upload"
    inodes: int = 0
    sender: Sender | None = None
    """Whose it is; None for what counts against nobody's share."""
    claim: Claim | None = None
    """What it takes of its owner's quota; None where the index tells of that, or nothing is taken.
    """
    resumable: bool = False
    """Whether its client can go on with it in another request."""


EVERYTHING = SlotShares(per_token=2**31, per_owner=1, per_address=1)
"""Of a node whose slots anybody may have."""


class Reservation:
    """An admitted upload's share. Leaving the context gives everything back.

    Bytes of a request can be read with one only: `Receiving`, without which no body opens, is made
    where a slot is taken.
    """

    def __init__(
        self, ledger: Admission, demand: Demand, receiving: Receiving, granted: int
    ) -> None:
        self._ledger = ledger
        self._receiving = receiving
        self.demand = demand
        self._granted = granted

    def open_body(self, open_body: OpenBody) -> Body:
        """The bytes that the request brings."""
        return open_body(self._receiving)

    @contextmanager
    def growing(self, size: int) -> Iterator[None]:
        """The file's next blocks are taken in this context. Raises as `Admission.growing`."""
        with self._ledger.growing(self.demand.key, size):
            yield

    def within_quota(self, body: Body) -> Body:
        """A new file's bytes, held to what its owner may have where nobody knows how many come."""
        claim = self.demand.claim
        if claim is None or claim.is_exact:
            return body
        return Grown(body, 0, self._granted, partial(self._ledger.reach, self.demand.key, claim))

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ledger.release(self.demand)


class Admission:
    """The ledger of a node, as one process keeps it. Thread-safe."""

    def __init__(
        self,
        root: Path,
        sizing: Sizing,
        begun: Begun,
        memory_available: Callable[[], int] = machine.memory_available,
        shares: SlotShares = EVERYTHING,
        usage: Usage | None = None,
        bandwidth: Bandwidth | None = None,
        shared: SharedLedger | None = None,
    ) -> None:
        """`shared`: with what other processes of the node give; without it this one is alone."""
        self.spare = SpareThreads()
        self._bandwidth = bandwidth or Bandwidth(BandwidthLimits())
        self._slots = Slots(sizing.upload_slots, shares, self._bandwidth)
        self._space = DiskSpace(root, sizing, begun)
        self._quotas = Quotas(usage)
        self._sizing = sizing
        self._memory_available = memory_available
        self._shared = shared
        self._elsewhere = Elsewhere()
        self._lock = threading.Condition(threading.RLock())
        self._running: dict[str, Demand] = {}

    def check(self, demand: Demand) -> None:
        """Whether `demand` would be admitted now. Raises ProblemError with the reason if not.

        A slot that an idle upload gives back for it will be there.
        """
        with self._deciding():
            self._check(demand, soon=True)

    def admit(self, demand: Demand) -> Reservation:
        """Reserve everything in `demand` at once. Raises ProblemError when any of it is short."""
        with self._lock:
            self._wait_for_a_slot(demand)
            with self._deciding():
                self._check(demand)
                granted = 0 if demand.claim is None else self._quotas.hold(demand.key, demand.claim)
                self._running[demand.key] = demand
                if demand.disk:
                    self._space.requests[demand.key] = demand.disk
                receiving = self._slots.take(
                    demand.key, demand.kind, demand.sender, resumable=demand.resumable
                )
                self._note(demand.key)
        return Reservation(self, demand, receiving, granted)

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """What is decided here counts what other processes have given up to this moment."""
        with self._lock:
            if self._shared is None:
                yield
                return
            with self._shared.alone() as elsewhere:
                self._count(elsewhere)
                try:
                    yield
                finally:
                    self._shared.ask(self._slots.asks)

    def _count(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = self._space.elsewhere = self._quotas.elsewhere = elsewhere
        self._slots.count(elsewhere)

    def _note(self, key: str) -> None:
        """Tell the other processes what this one has given under a key by now. In `_deciding`."""
        if self._shared is None:
            return
        demand, disk = self._running.get(key), self._space.requests.get(key, 0)
        held = self._quotas.held(key)
        if demand is None and not disk and held is None:
            self._shared.remove(key)
            return
        sender = None if demand is None else demand.sender
        owner, token, claimed = held or (None, None, None)
        idle_since, gives_way = self._slots.standing(key)
        self._shared.put(
            Entry(
                key=key,
                kind=None if demand is None else demand.kind,
                place=None if demand is None or demand.path is None else place_of(demand.path),
                disk=disk,
                inodes=0 if demand is None else demand.inodes,
                parties=() if demand is None else self._slots.parties(demand.kind, sender),
                token=token or ("" if sender is None else sender.token),
                owner=owner or ("" if sender is None else sender.owner),
                claimed=claimed,
                resumable=demand is not None and demand.resumable,
                idle_since=idle_since,
                gives_way=gives_way,
            )
        )

    def _wait_for_a_slot(self, demand: Demand) -> None:
        """Until an idle upload that has the slot has given way."""
        with self.spare.waiting() as may_wait:
            until = time.monotonic() + MAKING_WAY
            while may_wait and (left := until - time.monotonic()) > 0:
                with self._deciding():
                    taken = self._slots.taken(demand.kind, demand.sender)
                if taken is None or not self._slots.make_way(taken):
                    return
                # What another process gives back is told to nobody.
                self._lock.wait(min(left, LOOK))

    @contextmanager
    def promising(self, key: str, size: int, claim: Claim | None = None) -> Iterator[int]:
        """In this context `size` bytes are promised, which a row in the index promises behind it.

        Yields how many of `claim` its owner may have; without one all. Raises ProblemError unless
        they can be had.
        """
        with self._deciding():
            self._space.check(size)
            granted = size if claim is None else self._quotas.hold(key, claim)
            self._space.requests[key] = size
            self._note(key)
        try:
            yield granted
        finally:
            with self._deciding():
                self._space.requests.pop(key, None)
                self._quotas.let_go(key)
                self._note(key)

    def reach(self, key: str, claim: Claim, size: int) -> int:
        """A request's file has `size` bytes by now; up to where it goes on without asking again.

        Raises ProblemError when they are more than its owner may have.
        """
        with self._deciding():
            granted = self._quotas.hold(key, grown_to(claim, size))
            self._note(key)
            return granted

    def check_quota(self, claim: Claim) -> None:
        """Raise ProblemError when an upload's owner may not have as much."""
        with self._deciding():
            self._quotas.check(claim)

    def used(self, owner: str) -> Used:
        """What an owner has on this node, by the numbers that quotas are held to."""
        with self._deciding():
            return self._quotas.used(owner)

    @contextmanager
    def growing(self, key: str, size: int) -> Iterator[None]:
        """In this context a request or a resumable upload takes its next `size` bytes of disk.

        Within its promise they are there; beyond, as long as nobody else was promised them: raises
        ProblemError otherwise.
        """
        with self._deciding():
            left = self._space.check_step(key, size)
        # While free space may or may not show them they count twice: that errs on the safe side.
        yield
        with self._deciding():
            if key in self._space.requests:
                self._space.requests[key] = left
                self._note(key)

    def has_taken(self, key: str, size: int) -> None:
        """A resumable upload has blocks for `size` bytes from its own beginning."""
        with self._lock:
            self._space.taken[key] = max(size, self._space.taken.get(key, 0))

    def taken(self, key: str) -> int:
        """See has_taken; 0 when nothing is known."""
        with self._lock:
            return self._space.taken.get(key, 0)

    def check_idle(self, key: str) -> None:
        """Raise ProblemError while an upload with this key is running."""
        with self._deciding():
            self._check_idle(key)

    def check_space(self, size: int, inodes: int, claim: Claim | None = None) -> None:
        """Raise ProblemError unless so many bytes and inodes of disk can be had now."""
        with self._deciding():
            if claim is not None:
                self._quotas.check(claim)
            self._space.check(size)
            self._space.check_inodes(inodes, self._inodes_running())

    def release(self, demand: Demand) -> None:
        """Give back what `admit` reserved."""
        with self._deciding():
            self._running.pop(demand.key, None)
            self._space.requests.pop(demand.key, None)
            self._quotas.let_go(demand.key)
            self._slots.give_back(demand.key)
            self._note(demand.key)
            self._lock.notify_all()

    def _check(self, demand: Demand, *, soon: bool = False) -> None:
        self._check_idle(demand.key)
        if demand.path is not None and (
            any(other.path == demand.path for other in self._running.values())
            or self._elsewhere.has_path(demand.path)
        ):
            raise ProblemError(
                "name-taken", f"{demand.path} is being uploaded by someone else right now"
            )
        if demand.claim is not None:
            # First: what doesn't pass by itself is told to nobody who was asked to wait.
            self._quotas.check(demand.claim)
        taken = self._slots.taken(demand.kind, demand.sender)
        if taken is not None and not (self._slots.make_way(taken) and soon):
            raise taken.problem
        available = self._memory_available()
        if available - self._sizing.upload_memory < self._sizing.memory_kept_free:
            raise ProblemError(
                "no-memory", f"only {format_size(available)} of memory is available: try again"
            )
        self._space.check(demand.disk)
        self._space.check_inodes(demand.inodes, self._inodes_running())

    def _inodes_running(self) -> int:
        return sum(each.inodes for each in self._running.values()) + self._elsewhere.inodes

    def _check_idle(self, key: str) -> None:
        other = self._elsewhere.find(key)
        if other is not None and other.resumable:
            raise ProblemError(
                "upload-locked", "another request is still at this upload: try again"
            )
        if key in self._running or other is not None:
            raise ProblemError(
                "upload-in-progress", "this token's upload is running: wait for its answer"
            )

    def hand_back(self) -> int:
        """End requests that their clients can go on with in another process; returns how many."""
        with self._lock:
            return self._slots.hand_back()

    def heed_others(self) -> int:
        """Do as other processes ask, and tell them who is idle; returns how many give way."""
        if self._shared is None:
            return 0
        with self._deciding():
            count = self._slots.heed()
            for key in self._slots.changed():
                self._note(key)
            return count

    def has_elsewhere(self, key: str) -> bool:
        """Whether another process has a request with this key."""
        with self._deciding():
            return self._elsewhere.find(key) is not None

    def is_elsewhere(self, key: str) -> bool:
        """Whether another process has a request at this resumable upload."""
        with self._deciding():
            other = self._elsewhere.find(key)
            return other is not None and other.resumable

    def take_over(self, key: str) -> bool:
        """Like is_elsewhere; that request is asked to end."""
        with self._deciding():
            return self._slots.take_over(key)

    def shortages(self) -> tuple[str, ...]:
        """Why every new upload is refused with 507, in words for people; empty when none is."""
        with self._deciding():
            return self._space.shortages(self._inodes_running())

    def slots(self) -> SlotStatus:
        """Slots in use and their bound."""
        with self._deciding():
            return self._slots.status()

    def bandwidth(self) -> BandwidthStatus:
        """What bounds how fast bytes come, and how many wait for it."""
        return self._bandwidth.status()

    def memory(self) -> MemoryStatus:
        """Memory held by uploads, its bound, and the node's."""
        with self._deciding():
            uploads = len(self._running) + len(self._elsewhere.with_slots)
        reserved = uploads * self._sizing.upload_memory
        return MemoryStatus(
            reserved=reserved,
            limit=self._sizing.upload_slots * self._sizing.upload_memory,
            available=self._memory_available(),
            total=machine.memory_total(),
            agent_rss=machine.resident_size(),
        )

    def disk(self) -> DiskStatus:
        """Space on the data filesystem and what is promised of it."""
        with self._deciding():
            return self._space.status(self._inodes_running())

    def tokens_elsewhere(self) -> tuple[str, ...]:
        """The ids of the tokens for which bytes come in other processes."""
        with self._deciding():
            return self._elsewhere.tokens
