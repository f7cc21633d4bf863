"""Files taken over from what a node's own attributes say: how a catalogue is made whole again.

A node tells what the catalogue doesn't know of its files (`control.replication.inventory`). Most
are many and alike, as after a restore: these go in by whole pages, those that nothing bears out as
this node's word alone (`control.files.vouching`). Whatever is known of a file already (its session,
a deletion, a move, another content) makes it one of the few that are taken in one by one, by the
same rules as a receipt (`control.files.receipts`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Row, Table, and_, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from control.catalogue import copies, inventory, usage
from control.db.deferred_log import log_on_commit
from control.db.models import (
    Base,
    ClusterState,
    Copy,
    File,
    Moment,
    MoveFile,
    Pool,
    Revocation,
    UploadSession,
)
from control.files import lifetimes, receipts, service, vouching
from control.files.receipts import Proof
from control.problems import ProblemError
from control.settings import Settings
from portside.tokens import RECEIPT_AUDIENCE
from portside.wire.claims import ReceiptClaims
from portside.wire.inventory import HeldFile, HeldFiles, HeldFilesAnswer, NotTaken

LEARNING_STEP = 2.0
"""Seconds within which all that is learned counts as learned at once. Nodes wait for more."""

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_TOKENS: BindParameter[str] = bindparam("tokens", expanding=True)

# Made once: putting statements together takes as long as carrying them out. Columns and no objects,
# for the rows are many, and changed by one statement for all.
_PLAIN = and_(
    inventory.DESCRIBED,
    File.state == "committed",
    File.expires_at.is_(None),
    File.held.is_(False),
    File.hold.is_(None),
    File.hold_version == 0,
)
"""Those that end by themselves or are held are few, or are compared one by one with what each node
says."""
_KNOWN = (
    select(File.file_id, File.sha256, File.size, File.path, File.present, File.factor)
    .add_columns(File.session_id, File.owner, File.app_id, File.name, File.vouched_by)
    .add_columns(_PLAIN.label("is_plain"))
    .where(File.file_id.in_(_IDS))
    .order_by(File.file_id)
    .with_for_update()
)
_COPIED = select(Copy.file_id).where(Copy.node_id == bindparam("node"), Copy.file_id.in_(_IDS))
_MOVED = select(MoveFile.file_id).where(MoveFile.file_id.in_(_IDS))
_PROMISED = select(UploadSession.file_id).where(
    or_(UploadSession.file_id.in_(_IDS), UploadSession.session_id.in_(_TOKENS))
)
_REVOKED = select(Revocation.token_id).where(Revocation.token_id.in_(_TOKENS))
_ONE_MORE = (
    update(File)
    .where(File.file_id.in_(_IDS))
    .values(present=File.present + 1, changed_at=bindparam("now", type_=Moment()))
    .execution_options(synchronize_session=False)
)


def take_over(
    session: Session,
    settings: Settings,
    held: HeldFiles,
    now: datetime,
    proved: Collection[str] = frozenset(),
) -> HeldFilesAnswer:
    """Take in what a node says that it has now, as its signed word. `proved` are the ids of those
    that an issuer's word bears out.

    In a transaction of the caller's, which has locked the node's row. A file that doesn't fit what
    is known of it is left as it is, and said to be.
    """
    files = {each.file_id: each for each in sorted(held.files, key=lambda each: each.file_id)}
    new, more, borne_out = _alike(session, settings, held.node_id, list(files.values()))
    new = _insert_files(session, settings, held.node_id, new, proved, now)
    taken = [*new, *more]
    # Before these copies are there, which count of themselves.
    vouching.all_borne_out(session, settings, borne_out, now)
    _insert_copies(session, held.node_id, taken, now)
    _count(session, [each.file_id for each in more], now)
    _store(session, held.node_id, taken)
    for each in new:
        if each.file_id not in proved:
            continue
        usage.changed(session, each.app, each.owner, usage.of_file(each.size))
    if new:
        _note_learning(session, now)
    not_taken = []
    done = {each.file_id for each in taken}
    for each in files.values():
        if each.file_id in done:
            continue
        try:
            word = _proof(held, each, now, is_proved=each.file_id in proved)
            receipts.register(session, settings, word, now, ordered=True)
        except ProblemError as problem:
            not_taken.append(NotTaken(file_id=each.file_id, why=problem.detail))
    log_on_commit(
        session,
        "files taken over",
        node=held.node_id,
        files=len(files) - len(not_taken),
        new=len(new),
        not_taken=len(not_taken),
    )
    return HeldFilesAnswer(taken=len(files) - len(not_taken), not_taken=tuple(not_taken))


def bury(
    session: Session, held: HeldFiles, now: datetime, is_proved: Callable[[HeldFile, File], bool]
) -> HeldFilesAnswer:
    """Delete what a node has deleted for good and this older catalogue believes to be alive.

    The node tells what only somebody knows who had the file, and shows the issuer's order to
    delete it. As `take_over` otherwise.
    """
    not_taken = []
    # All of them before any pool, which each deletion counts for.
    locked = copies.lock_files(session, [each.file_id for each in held.files])
    for each in sorted(held.files, key=lambda each: each.file_id):
        file = locked.get(each.file_id)
        if file is None or file.state != "committed":
            continue
        known = (file.session_id, file.sha256, file.size, file.path)
        if known != (each.jti, each.sha256, each.size, str(each.path)):
            not_taken.append(NotTaken(file_id=each.file_id, why="it was another file"))
            continue
        if not is_proved(each, file):
            copies.left(session, file, held.node_id, now)
            not_taken.append(NotTaken(file_id=each.file_id, why="no issuer's order came with it"))
            continue
        copies.left(session, file, held.node_id, now)
        service.delete_everywhere(session, file, now)
        log_on_commit(
            session, "deleted before it was learned of", node=held.node_id, file_id=each.file_id
        )
    return HeldFilesAnswer(taken=len(held.files) - len(not_taken), not_taken=tuple(not_taken))


def _note_learning(session: Session, now: datetime) -> None:
    """For `HeartbeatAnswer.learned_at`; not with each of many pages."""
    session.execute(
        update(ClusterState)
        .where(
            or_(
                ClusterState.learned_at.is_(None),
                ClusterState.learned_at < now - timedelta(seconds=LEARNING_STEP),
            )
        )
        .values(learned_at=now)
        .execution_options(synchronize_session=False)
    )


def _alike(
    session: Session, settings: Settings, node_id: str, files: Sequence[HeldFile]
) -> tuple[list[HeldFile], list[HeldFile], list[str]]:
    """Those of which nothing is known at all, and those of which only other copies are; of these
    the ids of what was one other node's word so far.
    """
    ids = [each.file_id for each in files]
    rows = session.execute(_KNOWN, {"ids": ids}).all()
    known = {row.file_id: row for row in rows}
    special = _of_interest(session, node_id, files)
    new = [each for each in files if each.file_id not in known and each.file_id not in special]
    more = [
        each
        for each in files
        if (row := known.get(each.file_id)) is not None
        and each.file_id not in special
        and row.is_plain
        # More than are wanted would have another copy ordered away on this node's word.
        and row.present < (row.factor if row.vouched_by is None else settings.factor)
        and (row.vouched_by is None or _bears_out(row, each))
        and not each.held
        and each.hold is None
        and (row.sha256, row.size, row.path) == (each.sha256, each.size, str(each.path))
    ]
    return new, more, [each.file_id for each in more if known[each.file_id].vouched_by is not None]


def _bears_out(row: Row[Any], each: HeldFile) -> bool:
    """Whether another node says the very same of a file: of one that it has told itself there is a
    copy here, and it is none of these."""
    said = (row.session_id, row.owner, row.app_id, row.name)
    return said == (each.jti, each.owner, each.app, each.name)


def _of_interest(session: Session, node_id: str, files: Sequence[HeldFile]) -> Collection[str]:
    """Ids of files that something else has to do with: a session, a deletion, a move, a copy."""
    ids, tokens = [each.file_id for each in files], [each.jti for each in files]
    file_of = {each.jti: each.file_id for each in files}
    copied = session.scalars(_COPIED, {"ids": ids, "node": node_id})
    moved = session.scalars(_MOVED, {"ids": ids})
    promised = session.scalars(_PROMISED, {"ids": ids, "tokens": tokens})
    revoked = session.scalars(_REVOKED, {"tokens": tokens})
    return {*copied, *moved, *promised, *(file_of[each] for each in revoked)}


def _insert_files(
    session: Session,
    settings: Settings,
    node_id: str,
    files: Sequence[HeldFile],
    proved: Collection[str],
    now: datetime,
) -> list[HeldFile]:
    """Make their rows; returns those that nobody else has made at the same time."""
    if not files:
        return []
    rows = [
        {
            "file_id": each.file_id,
            "session_id": each.jti,
            "app_id": each.app,
            "namespace": each.namespace,
            "owner": each.owner,
            "name": each.name,
            "path": str(each.path),
            "size": each.size,
            "sha256": each.sha256,
            "content_type": each.content_type,
            "committed_at": each.committed_at,
            "state": "committed",
            "factor": settings.factor if each.file_id in proved else 1,
            "vouched_by": None if each.file_id in proved else node_id,
            "present": 1,
            "held": each.held,
            "hold": None if each.hold is None else each.hold.model_dump_json(),
            "changed_at": now,
            "expires_at": lifetimes.moment_of(each.expires_at),
        }
        for each in files
    ]
    made = set(
        session.scalars(
            _insert_if_new(session, File).returning(File.file_id),
            rows,
            execution_options={"synchronize_session": False},
        )
    )
    return [each for each in files if each.file_id in made]


def _insert_copies(
    session: Session, node_id: str, files: Sequence[HeldFile], now: datetime
) -> None:
    if files:
        session.execute(
            _insert_if_new(session, Copy),
            [
                {
                    "file_id": each.file_id,
                    "node_id": node_id,
                    "pool_id": node_id,
                    "state": "present",
                    "since": now,
                    "lost_as": None,
                    "held": each.held,
                }
                for each in files
            ],
        )


def _insert_if_new(session: Session, model: type[Base]) -> Any:
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 (every model has one)
    on_sqlite = session.connection().dialect.name == "sqlite"
    return (sqlite if on_sqlite else postgresql).insert(table).on_conflict_do_nothing()


def _count(session: Session, file_ids: Sequence[str], now: datetime) -> None:
    """One copy more of each: their rows are locked."""
    if file_ids:
        session.execute(_ONE_MORE, {"ids": file_ids, "now": now})


def _store(session: Session, node_id: str, files: Sequence[HeldFile]) -> None:
    if not files:
        return
    inventory.take_in(session, node_id, [each.file_id for each in files])
    session.execute(
        update(Pool)
        .where(Pool.pool_id == node_id)
        .values(stored=Pool.stored + sum(each.size for each in files))
        .execution_options(synchronize_session=False)
    )


def _proof(held: HeldFiles, file: HeldFile, now: datetime, *, is_proved: bool) -> Proof:
    """A node's word for one file, as its receipt would say it."""
    claims = ReceiptClaims(
        iss=held.node_id,
        aud=RECEIPT_AUDIENCE,
        iat=int(now.timestamp()),
        jti=file.jti,
        file_id=file.file_id,
        path=file.path,
        size=file.size,
        sha256=file.sha256,
        committed_at=file.committed_at,
        copies=(held.node_id,),
        expires_at=file.expires_at,
        held=file.held,
    )
    return Proof(held.node_id, claims, file, is_proved)
