"""What each owner and each app has: files and bytes, stored, and promised to open sessions.

An owner is an app's: the same word in two apps is two users, as everywhere (`control.cluster.reach`
on who sees whose files). A file counts once, whatever its copies, from its first receipt until it
is deleted: held, lost, or past its end and kept for the grace, it is there or may come back. An
open session counts with the most that its token allows, so that no upload brings more than was
promised.

What changes is noted with the rows that it counts, and added up at the transaction's very end,
owners before apps, each in their order: these rows are locked last and shortly
(`control.db.last_steps`), whatever else the transaction does in which order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from control.db.last_steps import at_the_end
from control.db.models import File, UploadSession, Usage
from portside.wire.bounds import LARGEST

COUNTED = ("committed", "lost")
"""States of a file that counts, unless it is there by one node's word alone: a thief's would have
its owner's room (`control.files.vouching`)."""

EVERYBODY = ""
"""The owner of an app's own row."""

Key = tuple[str, str]
"""App and owner, either empty as in `Usage`."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes and files that there are, that came or, below zero, went."""

    bytes: int = 0
    files: int = 0
    promised_bytes: int = 0
    promised_files: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            *(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True))
        )

    def __neg__(self) -> Amount:
        return Amount(*(-each for each in astuple(self)))


NOTHING = Amount()


def of_file(size: int) -> Amount:
    """What a file of `size` bytes is."""
    return Amount(bytes=size, files=1)


def counts(file: File) -> bool:
    """Whether a file is its owner's and its app's to account for."""
    return file.state in COUNTED and file.vouched_by is None


def of_promise(most: int) -> Amount:
    """What an open session is that may bring `most` bytes."""
    return Amount(promised_bytes=most, promised_files=1)


def most_of(size: int | None, max_size: int | None, reserved: int) -> int:
    """The most bytes that a session's token allows."""
    if size is not None:
        return size
    return reserved if max_size is None else max_size


# The same in SQL.
MOST: ColumnElement[int] = func.coalesce(
    UploadSession.size, UploadSession.max_size, UploadSession.reserved
)


def keys(app_id: str | None, owner: str) -> tuple[Key, Key]:
    """The two rows that count for an owner, in their order: the app's is wanted by more."""
    return (app_id or "", owner), (app_id or "", EVERYBODY)


_CHANGES = "portside_usage"


def changed(session: Session, app_id: str | None, owner: str, amount: Amount) -> None:
    """Count this for an owner and its app, at the end of the transaction."""
    changes: dict[Key, Amount] = session.info.setdefault(_CHANGES, {})
    for key in keys(app_id, owner):
        changes[key] = changes.get(key, NOTHING) + amount
    at_the_end(session, _add_up)


def _add_up(session: Session) -> None:
    changes: dict[Key, Amount] = session.info.pop(_CHANGES)
    rows = [_row(key, changes[key]) for key in sorted(changes, key=_order)]
    rows = [row for row in rows if any(row[each] for each in _COUNTERS)]
    if rows:
        connection = session.connection()
        connection.execute(_ADDED[connection.dialect.name], rows)


def promise(session: Session, key: Key, amount: Amount, most: Amount) -> Amount | None:
    """Count `amount` unless that makes more than `most`; what there is then, or None.

    One statement decides, so that two sessions never get the same last bytes. It belongs to a
    transaction's end, the owner's before the app's.
    """
    if amount.promised_bytes > most.bytes or amount.promised_files > most.files:
        # There may be no row yet to compare with.
        return None
    connection = session.connection()
    row = connection.execute(
        _PROMISED[connection.dialect.name],
        {**_row(key, amount), "most_bytes": most.bytes, "most_files": most.files},
    ).first()
    return None if row is None else Amount(*row)


UNLIMITED = Amount(bytes=LARGEST, files=LARGEST)
"""The `most` of who has no quota."""


def of(session: Session, app_id: str | None, owner: str) -> tuple[Amount, Amount]:
    """What an owner has, and all of its app."""
    own, all_ = keys(app_id, owner)
    rows = session.connection().execute(_OF, {"of_app": own[0], "of_owner": owner})
    found = {(app, name): Amount(*counters) for app, name, *counters in rows}
    return found.get(own, NOTHING), found.get(all_, NOTHING)


def total(session: Session) -> Amount:
    """What there is in all: some rows, one for each app."""
    row = session.execute(
        select(*(func.coalesce(func.sum(column), 0) for column in _COLUMNS)).where(
            _TABLE.c.owner == EVERYBODY
        )
    ).one()
    return Amount(*(int(each) for each in row))


def counted(session: Session, *, only: Key | None = None) -> dict[Key, Amount]:
    """What the counters should say, by the rows they stand for: reads whole tables without `only`.

    One statement, which sees one moment.
    """
    owner: ColumnElement[str] = File.owner.expression
    of_session: ColumnElement[str] = UploadSession.owner.expression
    if only is not None and only[1] == EVERYBODY:
        owner = of_session = literal(EVERYBODY)
    zero = literal(0)
    files = select(
        func.coalesce(File.app_id, "").label("app_id"),
        owner.label("owner"),
        File.size.label("bytes"),
        literal(1).label("files"),
        zero.label("promised_bytes"),
        zero.label("promised_files"),
    ).where(File.state.in_(COUNTED), File.vouched_by.is_(None))
    sessions = select(UploadSession.app_id, of_session, zero, zero, MOST, literal(1)).where(
        UploadSession.state == "open"
    )
    if only is not None:
        app_id, name = only
        files = files.where(File.app_id == app_id if app_id else File.app_id.is_(None))
        sessions = sessions.where(UploadSession.app_id == app_id)
        if name != EVERYBODY:
            files, sessions = (
                files.where(File.owner == name),
                sessions.where(UploadSession.owner == name),
            )
    each = union_all(files, sessions).subquery()
    rows = session.execute(
        select(
            each.c.app_id, each.c.owner, *(func.sum(each.c[name]) for name in _COUNTERS)
        ).group_by(each.c.app_id, each.c.owner)
    )
    found: dict[Key, Amount] = defaultdict(Amount)
    for app_id, name, *sums in rows:
        amount = Amount(*(int(total) for total in sums))
        found[app_id, name] += amount
        if only is None:
            found[app_id, EVERYBODY] += amount
    return dict(found)


def said(session: Session) -> dict[Key, Amount]:
    """What every counter says."""
    rows = session.connection().execute(select(Usage.app_id, Usage.owner, *_COLUMNS))
    return {(app_id, owner): Amount(*counters) for app_id, owner, *counters in rows}


def put_right(session: Session, key: Key) -> bool:
    """Count one again, in a transaction of its own; returns whether it was wrong.

    Its row is locked first: whoever changes what it counts has added that up and committed by
    then, or waits and adds to what is counted here.
    """
    connection = session.connection()
    connection.execute(_ADDED[connection.dialect.name], _row(key, NOTHING))
    says, _ = of(session, *key)
    should = counted(session, only=key).get(key, NOTHING)
    if says == should:
        return False
    right = should + -says
    connection.execute(_ADDED[connection.dialect.name], _row(key, right))
    return True


def forget_empty(session: Session) -> None:
    """Remove the rows of those who have nothing any more."""
    session.execute(
        delete(Usage)
        .where(*(column == 0 for column in _COLUMNS))
        .execution_options(synchronize_session=False)
    )


def _order(key: Key) -> tuple[bool, str, str]:
    app_id, owner = key
    return owner == EVERYBODY, app_id, owner


_COUNTERS = ("bytes", "files", "promised_bytes", "promised_files")
_TABLE = Usage.__table__
assert isinstance(_TABLE, Table)  # noqa: S101 (every model has one)
_COLUMNS = tuple(_TABLE.c[each] for each in _COUNTERS)


def _row(key: Key, amount: Amount) -> dict[str, str | int]:
    app_id, owner = key
    return {"app_id": app_id, "owner": owner, **dict(zip(_COUNTERS, astuple(amount), strict=True))}


# Made once: putting a statement together takes longer than SQLite takes to carry it out.
_OF = select(_TABLE.c.app_id, _TABLE.c.owner, *_COLUMNS).where(
    _TABLE.c.app_id == bindparam("of_app"),
    _TABLE.c.owner.in_((bindparam("of_owner"), EVERYBODY)),
)


def _added(dialect: Any) -> Any:
    row = dialect.insert(_TABLE)
    return row.on_conflict_do_update(
        index_elements=["app_id", "owner"],
        set_={each: _TABLE.c[each] + row.excluded[each] for each in _COUNTERS},
    )


def _promised(dialect: Any) -> Any:
    row = dialect.insert(_TABLE)
    there: Sequence[Any] = _COLUMNS
    bytes_, files, promised_bytes, promised_files = there
    return row.on_conflict_do_update(
        index_elements=["app_id", "owner"],
        set_={
            "promised_bytes": promised_bytes + row.excluded.promised_bytes,
            "promised_files": promised_files + row.excluded.promised_files,
        },
        where=and_(
            bytes_ + promised_bytes + row.excluded.promised_bytes
            <= bindparam("most_bytes", type_=bytes_.type),
            files + promised_files + row.excluded.promised_files
            <= bindparam("most_files", type_=files.type),
        ),
    ).returning(*there)


_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}
_ADDED = {name: _added(dialect) for name, dialect in _DIALECTS.items()}
_PROMISED = {name: _promised(dialect) for name, dialect in _DIALECTS.items()}
