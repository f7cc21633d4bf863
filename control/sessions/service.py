"""Upload sessions: refused early, or placed, promised and handed out with a token.

What an upload would fail at later is said here, before a byte travels: a type that no node takes, a
size above the limit, no space anywhere, too many requests. A session promises its size on a pool
in one conditional UPDATE, so that two sessions never promise the same bytes. It is given back by
the file's receipt or, when the deadline passes, by a worker's round (`control.worker.expiry`).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from urllib.parse import urlsplit

import structlog
from sqlalchemy import BigInteger, bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from control.cluster.placement import Place
from control.cluster.read_model import KnownApp
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.database import Database
from control.db.models import File, Pool, UploadSession
from control.problems import ProblemError
from control.settings import Settings
from portside.content import extension_of, is_allowed
from portside.names import NameRefused, named_path, sanitise
from portside.rate import Rate
from portside.tokens import SigningKey, mint_upload
from portside.wire import paths
from portside.wire.claims import UploadClaims
from portside.wire.control import Session, SessionRequest, UploadServer

_log = structlog.get_logger()


_TRIES = 4
"""Places that are tried when others were faster than this process's snapshot."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A session request with who sent it, and from where."""

    app: KnownApp
    request: SessionRequest
    address: str
    """The uploader's, as the app tells it, else whoever asks."""
    idempotency_key: str | None = None


class Sessions:
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
        self._rates = {
            "app": Rate(settings.sessions_per_app),
            "owner": Rate(settings.sessions_per_owner),
            "address": Rate(settings.sessions_per_address),
        }

    def open(self, wish: Wish, now: datetime) -> tuple[Session, bool]:
        """A session for the wish, and whether it is a new one.

        The same wish under the same Idempotency-Key finds the session again. Raises ProblemError
        with the first thing that speaks against it, and DatabaseUnavailable.
        """
        key = self._signer()
        self._check(wish.request)
        snapshot = self._snapshots.current()
        if (known := self._known(wish)) is not None:
            return self._answer(snapshot, key, known), False
        self._take_rate(wish)
        self._name_is_free(wish)
        size = self._size(wish.request)
        for _ in range(_TRIES):
            places = self._places(snapshot, wish.request, size)
            row = self._row(wish, places, size, now)
            try:
                reserved = self._database.write(partial(_reserve, row=row, place=places[0]))
            except IntegrityError:
                # The same key or name at the same time, on another thread or process: that one
                # was first.
                if (known := self._known(wish)) is not None:
                    return self._answer(snapshot, key, known), False
                self._name_is_free(wish)
                raise
            if reserved:
                places[0].promise(size)
                _log.info(
                    "session opened",
                    session=row.session_id,
                    file_id=row.file_id,
                    app=row.app_id,
                    node=row.node_id,
                    pool=row.pool_id,
                    reserved=row.reserved,
                )
                return self._answer(snapshot, key, row), True
            # Promised meanwhile by other processes.
            places[0].fill_up()
        raise _no_space(size, wish.request)

    def server(self, size: int, region: str | None) -> UploadServer:
        """Where an upload of `size` bytes would go now, promising nothing. Raises ProblemError."""
        snapshot = self._snapshots.current()
        wish = SessionRequest(owner="-", size=size, region=region)
        place = self._places(snapshot, wish, size)[0]
        pool = snapshot.pools[place.pool_id]
        return UploadServer(
            node_id=place.node_id,
            pool_id=place.pool_id,
            public_base_url=pool.public_base_url,
            upload_api_url=pool.upload_api_url,
            resumable_url=resumable_url(pool.upload_api_url),
        )

    def _signer(self) -> SigningKey:
        if self._key is None:
            raise ProblemError(
                "issuer-key-missing",
                "this control plane has no key to sign upload tokens with: run "
                "`portside keys init` on the operator's machine, then deploy the control node",
            )
        return self._key

    def _check(self, request: SessionRequest) -> None:
        """What no node would take, and what makes no sense."""
        if request.size is not None and request.max_size is not None:
            raise ProblemError("malformed-request", "give 'size' or 'max_size', not both")
        if request.layout == "named" and request.name is None:
            raise ProblemError("malformed-request", "the layout 'named' needs a 'name'")
        if request.name is not None:
            try:
                extension = extension_of(sanitise(request.name))
            except NameRefused as refused:
                raise ProblemError("name-refused", str(refused)) from None
            if not is_allowed(extension, self._settings.extensions):
                raise ProblemError(
                    "type-refused",
                    f"files ending in {extension or 'nothing'} are not taken here; "
                    f"allowed are {' '.join(self._settings.extensions)}",
                )
        if self._size(request) > self._settings.max_size:
            raise ProblemError(
                "too-large",
                f"{self._size(request)} bytes are more than the {self._settings.max_size} allowed",
            )

    def _size(self, request: SessionRequest) -> int:
        """What has to be promised."""
        if request.size is not None:
            return request.size
        return self._settings.max_size if request.max_size is None else request.max_size

    def _take_rate(self, wish: Wish) -> None:
        """Count the session for app, user and address; refused, it counts for none of them."""
        keys = {
            "app": wish.app.app_id,
            "owner": f"{wish.app.app_id} {wish.request.owner}",
            "address": wish.address,
        }
        for of, key in keys.items():
            seconds = self._rates[of].wait(key)
            if seconds:
                raise ProblemError(
                    "rate-limited",
                    f"this {of} opens more than {self._rates[of].per_minute} sessions a minute: "
                    f"come again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )
        for of, key in keys.items():
            self._rates[of].take(key)

    def _name_is_free(self, wish: Wish) -> None:
        """A named file's path is one for the whole cluster: its copies have the same."""
        path = _path(wish.request)
        if path is None:
            return
        taken = self._database.read(
            lambda session: session.scalars(
                select(File.file_id)
                .where(File.path == path, File.state.in_(("committed", "deleting")))
                .limit(1)
            ).first()
        )
        if taken is not None:
            raise ProblemError("name-taken", f"{path} is there already: choose another name")
        upload = self._database.read(
            lambda session: session.scalars(
                select(UploadSession).where(
                    UploadSession.path == path, text("sessions.state = 'open'")
                )
            ).first()
        )
        if upload is not None:
            way_out = "choose another name"
            if upload.app_id == wish.app.app_id:
                way_out += f", or call it off: DELETE {paths.FILES}/{upload.file_id}"
            until = upload.deadline.isoformat(timespec="seconds")
            raise ProblemError(
                "name-taken",
                f"another session may upload {path} until {until}: {way_out}",
            )

    def _places(self, snapshot: Snapshot, request: SessionRequest, size: int) -> list[Place]:
        """Where the file goes first, and behind it where its copies go."""
        choose = partial(snapshot.ranking.choose, size, self._random, region=request.region)
        # What the uploader couldn't reach is still better than nothing: it may be back.
        first = choose(without=request.avoid) or choose()
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

    def _row(self, wish: Wish, places: list[Place], size: int, now: datetime) -> UploadSession:
        request = wish.request
        return UploadSession(
            session_id=secrets.token_urlsafe(16),
            app_id=wish.app.app_id,
            idempotency_key=wish.idempotency_key,
            request_sha256=_digest(request),
            owner=request.owner,
            file_id=secrets.token_hex(16),
            node_id=places[0].node_id,
            pool_id=places[0].pool_id,
            replicas=[place.node_id for place in places[1:]],
            namespace=request.namespace,
            name=request.name,
            layout=request.layout,
            size=request.size,
            max_size=None if request.size is not None else size,
            sha256=request.sha256,
            content_type=request.content_type,
            reserved=size,
            path=_path(request),
            state="open",
            created_at=now,
            expires_at=now + timedelta(seconds=self._settings.start_within),
            deadline=now + timedelta(seconds=self._settings.session_deadline),
        )

    def _known(self, wish: Wish) -> UploadSession | None:
        """The session that this app opened under this key. Raises ProblemError for another wish."""
        if wish.idempotency_key is None:
            return None
        row = self._database.read(
            lambda session: session.scalars(
                select(UploadSession).where(
                    UploadSession.app_id == wish.app.app_id,
                    UploadSession.idempotency_key == wish.idempotency_key,
                )
            ).one_or_none()
        )
        if row is not None and row.request_sha256 != _digest(wish.request):
            raise ProblemError(
                "idempotency-conflict", "this Idempotency-Key came with another request before"
            )
        return row

    def _answer(self, snapshot: Snapshot, key: SigningKey, row: UploadSession) -> Session:
        """The session as its app gets it, made from the row alone: always the same."""
        began = int(row.created_at.timestamp())
        claims = UploadClaims(
            iss=key.owner,
            aud=row.node_id,
            sub=row.owner,
            jti=row.session_id,
            iat=began,
            nbf=began,
            exp=int(row.expires_at.timestamp()),
            session_deadline=int(row.deadline.timestamp()),
            file_id=row.file_id,
            namespace=row.namespace,
            name=row.name,
            layout=row.layout,
            size=row.size,
            max_size=row.max_size,
            sha256=row.sha256,
            content_type=row.content_type,
            replicas=tuple(row.replicas),
            ack=self._settings.ack,
        )
        url = snapshot.pools[row.pool_id].upload_api_url
        return Session(
            session_id=row.session_id,
            file_id=row.file_id,
            node_id=row.node_id,
            upload_api_url=url,
            resumable_url=resumable_url(url),
            token=mint_upload(key, claims),
            expires_at=row.expires_at,
            session_deadline=row.deadline,
            replicas=tuple(row.replicas),
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


def _reserve(session: Transaction, row: UploadSession, place: Place) -> bool:
    """Note the session down and promise its size, or neither: False when the space is gone."""
    connection = session.connection()
    # The row that many want comes last, so that it is locked for the shortest time.
    connection.execute(_NOTE_DOWN, {name: getattr(row, name) for name in _COLUMNS})
    promise = {"pool": row.pool_id, "size": row.reserved, "most": place.limit}
    if connection.execute(_PROMISE, promise).first() is None:
        session.rollback()
        return False
    return True


def resumable_url(upload_api_url: str) -> str:
    """Where resumable uploads of the same node are made."""
    if upload_api_url.endswith(paths.UPLOAD):
        return upload_api_url.removesuffix(paths.UPLOAD) + paths.RESUMABLE_UPLOADS
    parts = urlsplit(upload_api_url)
    return f"{parts.scheme}://{parts.netloc}{paths.RESUMABLE_UPLOADS}"


def _path(request: SessionRequest) -> str | None:
    """Where the file will be, if that is known by its name alone."""
    if request.layout != "named" or request.name is None:
        return None
    return str(named_path(request.namespace, request.name))


def _digest(request: SessionRequest) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()


def _no_space(size: int, request: SessionRequest) -> ProblemError:
    hint = "" if request.size is not None else ": say the file's 'size', else its limit is promised"
    return ProblemError("no-space", f"no node has room for {size} bytes{hint}")
