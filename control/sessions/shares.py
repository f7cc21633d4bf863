"""How much of a pool one owner's open sessions may hold: nobody promises himself what all share.

An owner is one of an app's: two apps' users of one name are two. One who has no other session open
anywhere is let in whatever the size, for a large file is no attack; what comes beside it has to be
within the share of each pool. Looked at before a place is chosen, and decided in the transaction
that promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from control.cluster.placement import Place
from control.db.models import UploadSession
from control.problems import ProblemError
from control.sessions.checks import AppRequest

RETRY_AFTER = {"Retry-After": "60"}
"""Sessions are uploaded or end within minutes."""

# Made once: putting a statement together takes longer than the database takes to carry it out.
_HELD = (
    select(UploadSession.pool_id, func.sum(UploadSession.reserved), func.count())
    .where(
        text("sessions.state = 'open'"),
        UploadSession.owner == bindparam("owner"),
        UploadSession.app_id == bindparam("app"),
        UploadSession.session_id != bindparam("without"),
    )
    .group_by(UploadSession.pool_id)
)


def held(
    session: Session, app_id: str, owner: str, without: str = ""
) -> Mapping[str, tuple[int, int]]:
    """Bytes that an owner's open sessions but one hold of each pool, and how many they are."""
    parameters = {"owner": owner, "app": app_id, "without": without}
    rows = session.connection().execute(_HELD, parameters)
    return {pool_id: (int(total), count) for pool_id, total, count in rows}


def nodes_beyond(
    places: Iterable[Place], holds: Mapping[str, tuple[int, int]], size: int, share: float
) -> Sequence[str]:
    """The nodes on which so many bytes more would be beyond the owner's share."""
    if not holds:
        return ()
    return [place.node_id for place in places if is_beyond(place, holds, size, share)]


def is_beyond(place: Place, holds: Mapping[str, tuple[int, int]], size: int, share: float) -> bool:
    """Whether `size` bytes beside what an owner holds are more than its share of this place."""
    here, _ = holds.get(place.pool_id, (0, 0))
    return any(total for total, _ in holds.values()) and here + size > share * place.limit


def too_much(asked: AppRequest, holds: Mapping[str, tuple[int, int]], share: float) -> ProblemError:
    """What is said to whom nothing more is promised, though there is room."""
    total = sum(each for each, _ in holds.values())
    count = sum(each for _, each in holds.values())
    return ProblemError(
        "too-much-promised",
        f"{count} open sessions of this owner hold {total} bytes, and one owner's may hold "
        f"{share:.0%} of what a pool has (limits.promised_per_owner): upload them, or call them "
        "off with DELETE /api/v1/files/<file_id>",
        RETRY_AFTER,
    )
