"""Quotas where they count: no session is promised more than its owner and its app may have.

A session counts with the most that its token allows. Where nobody says how much that is, it may be
what is left, so that an upload of unknown size stops at the quota.

Every refusal is 413 and none 507: clients of tus try again by themselves after a 5xx, and only a
person can make room here, or give more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session as Transaction

from control.catalogue import usage
from control.catalogue.usage import UNLIMITED, Amount
from control.cluster import quotas
from control.db.models import UploadSession
from control.problems import ProblemError
from portside.cluster.quotas import Quota, Quotas
from portside.quantities import format_size
from portside.wire.control import SessionRequest
from portside.wire.status import QuotaView, Share


@dataclass(frozen=True, slots=True)
class Account:
    """What an owner or an app has, and may have. `whose` is for people."""

    whose: str
    has: Amount
    quota: Quota

    @property
    def bytes_left(self) -> int:
        """What may still be promised."""
        return max(0, _most(self.quota).bytes - self.has.bytes - self.has.promised_bytes)

    @property
    def files_left(self) -> int:
        """How many may still be promised."""
        return max(0, _most(self.quota).files - self.has.files - self.has.promised_files)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Those that a session counts for."""

    owner: Account
    app: Account

    def most_bytes(self, request: SessionRequest, most: int) -> int:
        """The most that a session may bring that asks for `most`. Raises ProblemError.

        What was asked for in so many words is given or refused. Without a word of it, it is what
        is left.
        """
        for each in (self.owner, self.app):
            if not each.files_left:
                raise _over(each, request, most)
            told = request.size is not None or request.max_size is not None
            if each.bytes_left < most and (told or not each.bytes_left):
                raise _over(each, request, most)
        return min(most, self.owner.bytes_left, self.app.bytes_left)

    def view(self) -> QuotaView:
        """As the session's answer tells it: the owner's, and no more left than to the app."""
        owner, app = self.owner, self.app
        return QuotaView(
            bytes=Share(
                limit=owner.quota.bytes,
                used=owner.has.bytes + owner.has.promised_bytes,
                left=_least(
                    owner.bytes_left if owner.quota.bytes is not None else None,
                    app.bytes_left if app.quota.bytes is not None else None,
                ),
            ),
            files=Share(
                limit=owner.quota.files,
                used=owner.has.files + owner.has.promised_files,
                left=_least(
                    owner.files_left if owner.quota.files is not None else None,
                    app.files_left if app.quota.files is not None else None,
                ),
            ),
        )


def look_up(session: Transaction, configured: Quotas, app_id: str, owner: str) -> Accounts:
    """What a session of this app's for this owner counts for."""
    has = usage.of(session, app_id, owner)
    return _accounts(app_id, owner, has, quotas.of_both(session, configured, app_id, owner))


def promise(session: Transaction, configured: Quotas, row: UploadSession) -> Accounts | None:
    """Promise the session's bytes and its one file; what there is then.

    None when others were faster, and it is too much now: the transaction is to be undone then.
    """
    amount = usage.of_promise(usage.most_of(row.size, row.max_size, row.reserved))
    own, all_ = usage.keys(row.app_id, row.owner)
    owner_may, app_may = quotas.of_both(session, configured, row.app_id, row.owner)
    owner_has = usage.promise(session, own, amount, _most(owner_may))
    if owner_has is None:
        return None
    app_has = usage.promise(session, all_, amount, _most(app_may))
    if app_has is None:
        return None
    return _accounts(row.app_id, row.owner, (owner_has, app_has), (owner_may, app_may))


def _accounts(
    app_id: str, owner: str, has: tuple[Amount, Amount], may: tuple[Quota, Quota]
) -> Accounts:
    return Accounts(Account(owner, has[0], may[0]), Account(f"the app {app_id}", has[1], may[1]))


def _most(quota: Quota) -> Amount:
    return Amount(
        UNLIMITED.bytes if quota.bytes is None else quota.bytes,
        UNLIMITED.files if quota.files is None else quota.files,
    )


def _least(*left: int | None) -> int | None:
    limited = [each for each in left if each is not None]
    return min(limited) if limited else None


def _over(account: Account, request: SessionRequest, most: int) -> ProblemError:
    has, quota = account.has, account.quota
    ask = "ask the operator of the cluster for more"
    if not account.files_left:
        count = has.files + has.promised_files
        return ProblemError(
            "over-quota",
            f"{account.whose} has {count} of {quota.files} files, open uploads included: delete "
            f"files, or {ask}",
        )
    assert quota.bytes is not None  # noqa: S101 (nobody without a limit is over it)
    if most > quota.bytes and request.size is not None:
        return ProblemError(
            "over-quota",
            f"{account.whose} may have {format_size(quota.bytes)}, and this file alone has "
            f"{format_size(most)}: {ask}",
        )
    used = format_size(has.bytes + has.promised_bytes)
    this = f"this file has {format_size(most)}: delete"
    if request.size is None and request.max_size is None:
        this = "nothing is left: delete"
    elif request.size is None:
        this = f"this file may have up to {format_size(most)}: say its 'size', delete"
    return ProblemError(
        "over-quota",
        f"{account.whose} has {used} of {format_size(quota.bytes)}, open uploads included, and "
        f"{this} files, or {ask}",
    )
