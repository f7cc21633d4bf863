"""Owners' quotas: an upload begins when its owner may have as much more on this node.

An upload token can say what its owner may have (`portside.wire.claims.Quota`). What counts is all
that takes room here, however it came and whatever became of it since: stored files, copies from
other nodes, ended and quarantined ones until their bytes are gone, and all that open uploads may
come to, with a quota or without. Who has been let in is never refused for what others do later;
an upload of unknown size is let in with what is left at most, and asks again as it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from agent.incoming.body import Body, BodyCut
from agent.index.usage import OPEN, AtWork, Used
from agent.problems import ProblemError
from agent.storage.staging import STEP
from agent.uploads.disk_space import promise_for
from agent.uploads.shared.entries import Elsewhere
from portside.quantities import format_size
from portside.wire.claims import Quota, UploadClaims


class Usage(Protocol):
    """What the index knows of owners (`agent.index.usage`)."""

    def of(self, owner: str, at_work: Sequence[AtWork], but: str | None = None) -> Used:
        """What an owner has, but for the uploads of one token."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token's uploads may come to: `least` bytes for certain, `most` as far as is known."""

    owner: str
    token: str
    quota: Quota | None
    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        """Whether the file has so many bytes, and no others."""
        return self.least == self.most


def claim_of(claims: UploadClaims, length: int | None, limit: int, beside: int = 0) -> Claim:
    """The claim of an upload of `length` bytes, `beside` of which may be none of the file's.

    Of one that doesn't say it to the byte one at least is to be expected.
    """
    most = promise_for(length, limit)
    least = most if length is not None and not beside else max(1, (length or 0) - beside)
    return Claim(claims.sub, claims.jti, claims.quota, least, most)


@dataclass(frozen=True, slots=True)
class _Held:
    owner: str
    work: AtWork


@dataclass(slots=True)
class Quotas:
    """What the requests of all agent processes have been let in with. Under the ledger's lock.

    Of an upload that goes on its row tells.
    """

    usage: Usage | None
    """None where nobody asks: then nobody has anything."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    """What the requests of other processes have been let in with."""
    _held: dict[str, _Held] = field(default_factory=dict)

    def check(self, claim: Claim) -> int:
        """Bytes that may be held for an upload. Raises ProblemError when its owner has too much."""
        if claim.quota is None:
            return claim.most
        used = self.used(claim.owner, claim.token)
        if claim.quota.files is not None and used.files >= claim.quota.files:
            raise _too_many(claim, claim.quota.files, used)
        if claim.quota.bytes is None:
            return claim.most
        left = claim.quota.bytes - used.bytes
        if claim.least > left:
            raise _too_much(claim, claim.quota.bytes, used)
        return min(claim.most, left)

    def hold(self, key: str, claim: Claim) -> int:
        """See check. They are held until `let_go`, or held anew as the upload grows."""
        granted = self.check(claim)
        self._held[key] = _Held(claim.owner, AtWork(claim.token, granted))
        return granted

    def let_go(self, key: str) -> None:
        """Nothing is held any more; what was stored meanwhile has its row."""
        self._held.pop(key, None)

    def held(self, key: str) -> tuple[str, str, int] | None:
        """What is held under a key: whose it is, for which token, and how much."""
        held = self._held.get(key)
        return None if held is None else (held.owner, held.work.token, held.work.bytes)

    def used(self, owner: str, but: str | None = None) -> Used:
        """What an owner has at this moment, but for the uploads of one token."""
        at_work = [each.work for each in self._held.values() if each.owner == owner]
        at_work += [AtWork(each.token, each.claimed or 0) for each in self.elsewhere.of(owner)]
        return Used({}) if self.usage is None else self.usage.of(owner, at_work, but)


class Grown:
    """A body of unknown size: each byte is one that its owner may have before it is written.

    `reach` is told up to where the file comes, and lets it go on at most up to what it returns.
    """

    def __init__(self, body: Body, start: int, granted: int, reach: Callable[[int], int]) -> None:
        self._body = body
        self._end = start
        self._granted = granted
        self._reach = reach

    def fill(self, buffer: memoryview) -> int:
        """As any body's. Raises ProblemError for a byte too much."""
        try:
            filled = self._body.fill(buffer)
        except BodyCut as cut:
            self._count(cut.filled)
            raise
        self._count(filled)
        return filled

    def _count(self, filled: int) -> None:
        self._end += filled
        if self._end > self._granted:
            self._granted = self._reach(self._end)


def grown_to(claim: Claim, size: int) -> Claim:
    """The claim of an upload that has `size` bytes and goes on: a step ahead of them, that it
    needn't ask at every byte."""
    return replace(claim, least=size, most=size + STEP)


def _too_much(claim: Claim, limit: int, used: Used) -> ProblemError:
    has = f"{claim.owner} has {format_size(used.bytes)} of {format_size(limit)} on this node"
    size = format_size(claim.least)
    if claim.is_exact and claim.least > limit:
        detail = (
            f"this file has {size}, and {claim.owner} may have {format_size(limit)} in all on this "
            "node: ask for more"
        )
    elif claim.is_exact:
        detail = f"{has}{_of_that(used)}; this file has {size}: delete files, or ask for more"
    elif claim.least <= 1:
        detail = f"{has}{_of_that(used)}: delete files, or ask for more"
    else:
        detail = (
            f"{has}{_of_that(used)}; this file has {size} or more: delete files, or ask for more"
        )
    left = max(0, limit - used.bytes)
    return ProblemError("over-quota", detail, headers={"Upload-Limit": f"max-size={left}"})


def _too_many(claim: Claim, limit: int, used: Used) -> ProblemError:
    begun = used.of(OPEN).files
    under_way = f", {begun} of them under way" if begun else ""
    return ProblemError(
        "over-quota",
        f"{claim.owner} has {used.files} of {limit} files on this node{under_way}: delete some, or "
        "ask for more",
    )


def _of_that(used: Used) -> str:
    begun = used.of(OPEN).bytes
    return f" ({format_size(begun)} of that under way)" if begun else ""
