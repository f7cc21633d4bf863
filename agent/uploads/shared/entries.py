"""What one upload has of the node, as other processes of the web side are told of it. Pure.

While an old process finishes its uploads, a new one takes others: both admit by the sum of what
both have given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import PurePosixPath

from agent.uploads.shares import Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that has been let in, or what is promised for a moment to one that begins."""

    key: str
    """Of the ledger: a token's id, a resumable upload's, or what a promise is for."""
    kind: Kind | None = None
    """None for a promise without a slot."""
    place: str | None = None
    """Where its file is to lie, where that is known (`place_of`)."""
    disk: int = 0
    """Bytes that it may still come to take."""
    inodes: int = 0
    parties: tuple[tuple[str, str], ...] = ()
    """Whose shares of the slots it counts against."""
    token: str = ""
    owner: str = ""
    claimed: int | None = None
    """Bytes that it may come to of its owner's quota; None where the index tells of that."""
    resumable: bool = False
    idle_since: float | None = None
    """By the clock that all processes share (CLOCK_MONOTONIC), once its client is behind for so
    long that it may be told to give way."""
    gives_way: bool = False
    """Whether it was told to."""
    asks: str = ""
    """The key of another process's entry that is to give way: then nothing else is said."""
    takes_over: bool = False
    """Whether that is for a newer request at the same upload: it ends though bytes come."""

    @property
    def has_slot(self) -> bool:
        """Whether bytes come, or an answer is waited for."""
        return self.kind is not None


def place_of(path: PurePosixPath) -> str:
    """A file's path, as long as any other: no name keeps an entry from being written."""
    return blake2b(str(path).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def to_bytes(entry: Entry) -> bytes:
    """As it is written."""
    usual = {each.name: each.default for each in fields(Entry)}
    said = {name: value for name, value in asdict(entry).items() if value != usual[name]}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def from_bytes(data: bytes) -> Entry:
    """As another release may have written it: what isn't known is passed over.

    Raises ValueError, TypeError.
    """
    said = json.loads(data)
    known = {name: said[name] for name in Entry.__slots__ if name in said}
    known["parties"] = tuple((kind, who) for kind, who in known.get("parties", ()))
    return Entry(**known)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What other processes have given, as of one moment."""

    entries: tuple[Entry, ...] = ()

    @property
    def with_slots(self) -> tuple[Entry, ...]:
        """Those that have a slot."""
        return tuple(each for each in self.entries if each.has_slot)

    @property
    def disk(self) -> int:
        """Bytes that they may still come to take."""
        return sum(each.disk for each in self.entries)

    @property
    def inodes(self) -> int:
        """Likewise."""
        return sum(each.inodes for each in self.entries)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The ids of the tokens for which bytes are coming."""
        return tuple({each.token: None for each in self.with_slots if each.token})

    @property
    def asks(self) -> dict[str, bool]:
        """Keys that are to give way; true for those that are taken over."""
        asked: dict[str, bool] = {}
        for each in self.entries:
            if each.asks:
                asked[each.asks] = asked.get(each.asks, False) or each.takes_over
        return asked

    def of(self, owner: str) -> Iterable[Entry]:
        """What counts against an owner's quota."""
        return (each for each in self.entries if each.owner == owner and each.claimed is not None)

    def find(self, key: str) -> Entry | None:
        """The request that is at this."""
        return next((each for each in self.with_slots if each.key == key), None)

    def has_path(self, path: PurePosixPath) -> bool:
        """Whether somebody else's file is to come to be there."""
        place = place_of(path)
        return any(each.place == place for each in self.entries)
