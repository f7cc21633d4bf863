"""Files that are held: nobody is sent to them, and every node that has them is told.

What is said here holds at once for whoever asks here. Nodes hear it as orders with the answers to
their heartbeats, again and again until one confirms the version that it was given; a node that was
away hears it when it is back. A copy that comes later is told anew: it was sent before, maybe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.models import Copy, File, HoldOrder
from portside.wire.files import SCANNER, HoldNote
from portside.wire.heartbeat import HoldDone, NodeHold

AT_ONCE = 100
"""Orders in one answer: each is some writes to the node's disk, between two heartbeats."""

# Made once: asked with every heartbeat.
_ORDERS = (
    select(HoldOrder.file_id, HoldOrder.version, File.held, File.hold)
    .join(File, File.file_id == HoldOrder.file_id)
    .where(HoldOrder.node_id == bindparam("node"))
    .order_by(HoldOrder.file_id)
    .limit(AT_ONCE)
)


def change(session: Session, file: File, note: HoldNote | None, *, held: bool) -> None:
    """Hold a file or release it, and have every node told. Its row is locked."""
    file.held = held
    file.hold = None if note is None else note.model_dump_json()
    file.hold_version += 1
    session.flush()
    # Copies on their way and lost ones too: they may be there all the same, or come back.
    known = copies.copies_of(session, file.file_id).values()
    _order(session, file, sorted(copy.node_id for copy in known if copy.state != "gone"))


def arrived(
    session: Session,
    file: File,
    node_id: str,
    *,
    held: bool,
    note: HoldNote | None,
    may_hold: bool = True,
    scanned: bool = False,
) -> None:
    """A copy has come that was `held` or not when its node told of it. The file's row is locked.

    What was said here counts. Where nothing was, because the cluster's memory is an older one or a
    node was told alone, the file is held if any node says so that `may_hold` it: no node's word
    publishes what another one keeps back. Of a `scanned` file each copy is its own node's matter.
    """
    if scanned and _arrived_to_be_scanned(session, file, node_id, held, note):
        return
    if held and not file.held and not file.hold_version and may_hold:
        change(session, file, note, held=True)
    elif file.hold_version or held != file.held:
        _order(session, file, (node_id,))


def _arrived_to_be_scanned(
    session: Session, file: File, node_id: str, held: bool, note: HoldNote | None
) -> bool:
    """Whether that is all: nobody but scanners has said anything of the file."""
    copy = session.get_one(Copy, (file.file_id, node_id))
    copy.held = held
    session.flush()
    known = note_of(file)
    if file.hold_version or (known is not None and known.scan is None):
        return False
    if note is not None and note.scan is None:
        return False
    if known is not None and known.scan == "infected" and not held:
        _order(session, file, (node_id,))
    elif note is not None:
        judged(session, file, copy, note, held=held)
    return True


def judged(session: Session, file: File, copy: Copy, note: HoldNote, *, held: bool) -> None:
    """A node's scanner has judged its own copy. The file's row is locked.

    What is infected is held everywhere. What is not is served from that copy, and opens no other
    one: each node goes by its own scanner. Whatever a person said counts, before and after it.
    Who says so is not the node's to say.
    """
    note = note.model_copy(update={"by": f"{SCANNER} on {copy.node_id}"})
    known = note_of(file)
    if known is not None and known.scan in (None, "infected"):
        return
    if note.scan == "infected":
        change(session, file, note, held=True)
    elif note.scan in ("clean", "unscannable"):
        copy.held = held
        if file.held:
            file.held, file.hold = held, note.model_dump_json()
        session.flush()


def note_of(file: File) -> HoldNote | None:
    """Why it was last held or released, if anybody said."""
    return None if file.hold is None else HoldNote.model_validate_json(file.hold)


def orders(session: Session, node_id: str) -> tuple[NodeHold, ...]:
    """What a node is to be told of its files."""
    rows = session.connection().execute(_ORDERS, {"node": node_id})
    return tuple(
        NodeHold(
            file_id=row.file_id,
            version=row.version,
            held=row.held,
            note=None if row.hold is None else HoldNote.model_validate_json(row.hold),
        )
        for row in rows
    )


def confirmed(session: Session, node_id: str, done: Sequence[HoldDone]) -> None:
    """A node has carried these out: it isn't told them again. One of another version stays."""
    if not done:
        return
    released = select(File.file_id).where(
        File.file_id.in_([each.file_id for each in done]), File.held.is_(False)
    )
    session.execute(
        update(Copy)
        .where(Copy.node_id == node_id, Copy.held.is_(True), Copy.file_id.in_(released))
        .values(held=False)
        .execution_options(synchronize_session=False)
    )
    told = or_(
        *(
            and_(HoldOrder.file_id == each.file_id, HoldOrder.version == each.version)
            for each in done
        )
    )
    session.execute(
        delete(HoldOrder)
        .where(HoldOrder.node_id == node_id, told)
        .execution_options(synchronize_session=False)
    )


def forget(session: Session, file: File) -> None:
    """It is deleted everywhere: nobody is told any more. Its row is locked."""
    session.execute(
        delete(HoldOrder)
        .where(HoldOrder.file_id == file.file_id)
        .execution_options(synchronize_session=False)
    )


def _order(session: Session, file: File, nodes: Iterable[str]) -> None:
    on_sqlite = session.connection().dialect.name == "sqlite"
    for node_id in nodes:
        values = {"node_id": node_id, "file_id": file.file_id, "version": file.hold_version}
        made = (sqlite if on_sqlite else postgresql).insert(HoldOrder).values(**values)
        session.execute(
            made.on_conflict_do_update(
                index_elements=["node_id", "file_id"], set_={"version": file.hold_version}
            )
        )
