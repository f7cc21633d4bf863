"""Upload sessions are opened: checked, placed, promised and noted down in one transaction.

A session promises its size on a pool in one conditional UPDATE, so that two sessions never promise
the same bytes, and likewise of what its owner and its app may have. It is given back by the file's
receipt or, when the deadline passes, by a worker's round (`control.worker.expiry`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Literal

import structlog
from sqlalchemy import BigInteger, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from control.cluster.placement import Place
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.database import Database
from control.db.models import Pool, UploadSession
from control.problems import ProblemError
from control.sessions import answer, quota, shares
from control.sessions.checks import (
    AppRequest,
    SessionRates,
    bytes_to_promise,
    most_bytes,
    must_be_takeable,
    name_must_be_free,
    name_of,
    namespace_must_be_the_keys,
    node_must_take_files,
    path_of,
)
from control.sessions.quota import Accounts
from control.settings import Settings
from portside.tokens import SigningKey
from portside.wire.control import Session, SessionRequest, UploadServer

_log = structlog.get_logger()

_TRIES = 4
"""Places that are tried when others were faster than this process's snapshot."""


class SessionOpener:
    """Opens sessions. Thread-safe; rates are counted in this process alone."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        snapshots: Snapshots,
        key: SigningKey | None,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._snapshots = snapshots
        self._key = key
        self._random = random or Random()  # noqa: S311 (only spreads load)
        self._rates = SessionRates(settings)

    def open(self, asked: AppRequest, now: datetime) -> tuple[Session, bool]:
        """A session as asked for, and whether it is a new one.

        The same request under the same Idempotency-Key finds the session again, unless that has
        ended without a file. Raises ProblemError with the first thing that speaks against it, and
        DatabaseUnavailable.
        """
        key = self._signer()
        must_be_takeable(self._settings, asked.request)
        namespace_must_be_the_keys(asked)
        snapshot = self._snapshots.current()
        if (earlier := self._opened_before(asked)) is not None:
            return self._again(snapshot, key, earlier), False
        self._rates.take(asked)
        name_must_be_free(self._database, asked)
        size = bytes_to_promise(asked.request, most_bytes(self._settings, asked.request))
        reserve = partial(_reserve, settings=self._settings, request=asked.request)
        for _ in range(_TRIES):
            try:
                beyond = self._beyond(snapshot, asked, size)
                places = self._places(snapshot, asked.request, size, beyond)
            except ProblemError:
                # Who is over quota needs no place, and is told what can be done about it.
                self._must_fit(asked)
                raise
            row = self._row(asked, places, size, now)
            try:
                reserved = self._database.write(partial(reserve, row=row, place=places[0]))
            except IntegrityError:
                # The same key or name at the same time, on another thread or process: that one
                # was first.
                if (earlier := self._opened_before(asked)) is not None:
                    return self._again(snapshot, key, earlier), False
                name_must_be_free(self._database, asked)
                raise
            if isinstance(reserved, Accounts):
                places[0].promise(row.reserved)
                _log.info(
                    "session opened",
                    session=row.session_id,
                    file_id=row.file_id,
                    app=row.app_id,
                    node=row.node_id,
                    pool=row.pool_id,
                    reserved=row.reserved,
                )
                told = reserved.view()
                return answer.session(snapshot, self._settings, key, row, told), True
            if reserved == "pool":
                # Promised meanwhile by other processes.
                places[0].fill_up()
            elif reserved == "quota":
                # Unless somebody has made room since: then it fits.
                self._must_fit(asked)
        self._must_fit(asked)
        raise _no_space(size, asked.request)

    def _must_fit(self, asked: AppRequest) -> None:
        """Refuse what is more than its owner and its app may have."""
        accounts = self._accounts(asked.app.app_id, asked.request.owner)
        accounts.most_bytes(asked.request, most_bytes(self._settings, asked.request))

    def _accounts(self, app_id: str, owner: str) -> Accounts:
        return self._database.read(
            lambda session: quota.look_up(session, self._settings.quotas, app_id, owner)
        )

    def _again(self, snapshot: Snapshot, key: SigningKey, row: UploadSession) -> Session:
        """The session that was opened before."""
        told = self._accounts(row.app_id, row.owner).view()
        return answer.session(snapshot, self._settings, key, row, told)

    def server(self, size: int, region: str | None) -> UploadServer:
        """Where an upload of `size` bytes would go now, promising nothing. Raises ProblemError."""
        snapshot = self._snapshots.current()
        request = SessionRequest(owner="-", size=size, region=region)
        return answer.server(snapshot, self._places(snapshot, request, size)[0])

    def _signer(self) -> SigningKey:
        if self._key is None:
            raise ProblemError(
                "issuer-key-missing",
                "this control plane has no key to sign upload tokens with: run "
                "`portside keys init` on the operator's machine, then deploy the control node",
            )
        return self._key

    def _beyond(self, snapshot: Snapshot, asked: AppRequest, size: int) -> Sequence[str]:
        """Nodes on which the owner has its share. Raises ProblemError where no other has room."""
        share = self._settings.promised_per_owner
        if share == 1:
            return ()
        app_id, request = asked.app.app_id, asked.request
        holds = self._database.read(lambda session: shares.held(session, app_id, request.owner))
        beyond = shares.nodes_beyond(snapshot.places, holds, size, share)
        has_room = any(
            place.room >= size
            and place.is_upload_target
            and place.node_id not in beyond
            and request.node_id in (None, place.node_id)
            for place in (snapshot.places if beyond else ())
        )
        if beyond and not has_room:
            raise shares.too_much(asked, holds, share)
        return beyond

    def _places(
        self, snapshot: Snapshot, request: SessionRequest, size: int, beyond: Sequence[str] = ()
    ) -> list[Place]:
        """Where the file goes first, and behind it where its copies go; not first on `beyond`."""
        choose = partial(snapshot.ranking.choose, size, self._random, region=request.region)
        if request.node_id is not None:
            node_must_take_files(snapshot, request.node_id)
            first = choose(on=request.node_id)
        else:
            # What the uploader couldn't reach is still better than nothing: it may be back.
            first = choose(without=(*request.avoid, *beyond)) or choose(without=beyond)
        if not first:
            if not snapshot.places:
                raise ProblemError(
                    "no-node", "no node takes uploads now: GET /api/v1/nodes says why for each"
                )
            raise _no_space(size, request)
        if self._settings.factor == 1:
            return first
        copies = choose(
            count=self._settings.factor - 1, without=(first[0].node_id,), for_uploads=False
        )
        return first + copies

    def _row(
        self, asked: AppRequest, places: list[Place], size: int, now: datetime
    ) -> UploadSession:
        request = asked.request
        return UploadSession(
            session_id=secrets.token_urlsafe(16),
            app_id=asked.app.app_id,
            idempotency_key=asked.idempotency_key,
            request_sha256=_digest(request),
            owner=request.owner,
            file_id=secrets.token_hex(16),
            node_id=places[0].node_id,
            pool_id=places[0].pool_id,
            replicas=[place.node_id for place in places[1:]],
            namespace=request.namespace,
            name=name_of(request),
            layout=request.layout,
            size=request.size,
            max_size=None if request.size is not None else most_bytes(self._settings, request),
            sha256=request.sha256,
            content_type=request.content_type,
            hold=request.hold,
            reserved=size,
            path=path_of(request),
            expires_in=self._settings.lifetimes.of(request.namespace, request.expires_in),
            state="open",
            created_at=now,
            expires_at=now + timedelta(seconds=self._settings.start_within),
            deadline=now + timedelta(seconds=self._settings.session_deadline),
        )

    def _opened_before(self, asked: AppRequest) -> UploadSession | None:
        """The session that this app opened under this key. Another request is refused."""
        if asked.idempotency_key is None:
            return None
        row = self._database.read(
            lambda session: session.scalars(
                select(UploadSession).where(
                    UploadSession.app_id == asked.app.app_id,
                    UploadSession.idempotency_key == asked.idempotency_key,
                )
            ).one_or_none()
        )
        if row is not None and row.request_sha256 != _digest(asked.request):
            raise ProblemError(
                "idempotency-conflict", "this Idempotency-Key came with another request before"
            )
        if row is not None and row.state == "expired":
            # Called off, or over without a file: nothing can be uploaded in it any more, and who
            # asks again wants to upload.
            self._database.write(partial(_let_go_of_key, session_id=row.session_id))
            return None
        return row


def _let_go_of_key(session: Transaction, session_id: str) -> None:
    """The Idempotency-Key of a session that is over is free for another one."""
    session.execute(
        update(UploadSession)
        .where(UploadSession.session_id == session_id)
        .values(idempotency_key=None)
    )


_COLUMNS = tuple(column.key for column in UploadSession.__table__.columns)

# Made once: putting a statement together takes longer than SQLite takes to carry it out.
_NOTE_DOWN = insert(UploadSession)
_PROMISE = (
    update(Pool)
    .where(
        Pool.pool_id == bindparam("pool"),
        Pool.reserved + bindparam("size", type_=BigInteger) <= bindparam("most", type_=BigInteger),
    )
    .values(
        reserved=Pool.reserved + bindparam("size", type_=BigInteger),
        open_sessions=Pool.open_sessions + 1,
    )
    .returning(Pool.pool_id)
)


def _reserve(
    session: Transaction,
    settings: Settings,
    request: SessionRequest,
    row: UploadSession,
    place: Place,
) -> Accounts | Literal["pool", "share", "quota"]:
    """Note the session down and promise its size, or neither; then what there is, or is full."""
    connection = session.connection()
    if request.size is None:
        accounts = quota.look_up(session, settings.quotas, row.app_id, row.owner)
        row.max_size = accounts.most_bytes(request, most_bytes(settings, request))
        row.reserved = bytes_to_promise(request, row.max_size)
    # Rows that many want come last, so that they are locked for the shortest time.
    connection.execute(_NOTE_DOWN, {name: getattr(row, name) for name in _COLUMNS})
    promise = {"pool": row.pool_id, "size": row.reserved, "most": place.limit}
    if connection.execute(_PROMISE, promise).first() is None:
        session.rollback()
        return "pool"
    share = settings.promised_per_owner
    if share < 1:
        # Now that the pool's row is locked, nobody of the same owner is at it.
        holds = shares.held(session, row.app_id, row.owner, without=row.session_id)
        if shares.is_beyond(place, holds, row.reserved, share):
            session.rollback()
            return "share"
    promised = quota.promise(session, settings.quotas, row)
    if promised is None:
        session.rollback()
        return "quota"
    return promised


def _digest(request: SessionRequest) -> str:
    # Requests that don't say these have the digest that they had before any could.
    unsaid = {each for each in ("node_id", "expires_in", "hold") if not getattr(request, each)}
    return hashlib.sha256(request.model_dump_json(exclude=unsaid).encode()).hexdigest()


def _no_space(size: int, request: SessionRequest) -> ProblemError:
    hint = "" if request.size is not None else ": say the file's 'size', else its limit is promised"
    where = request.node_id or "no node"
    has = "has no room" if request.node_id else "has room"
    return ProblemError("no-space", f"{where} {has} for {size} bytes{hint}")
