"""The control plane's core for tests: a cluster of three healthy nodes on one database."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sqlalchemy.orm import Session as Transaction

from control.catalogue import copies
from control.catalogue.counters import differences
from control.cluster import api_keys
from control.cluster.api_keys import Scope
from control.cluster.read_model import KnownApp
from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.db.models import File, Pool
from control.files import receipts, vouching
from control.nodes.deletion_orders import DeletionOrders
from control.nodes.heartbeats import Heartbeats
from control.nodes.runs import Runs
from control.sessions.checks import AppRequest
from control.sessions.opening import SessionOpener
from portside.tokens import SigningKey
from portside.wire.control import Session, SessionRequest
from portside.wire.heartbeat import HeartbeatAnswer
from tests.support.control.cluster import Clock, FakeNodes, settings, take_over

_Result = TypeVar("_Result")

APP = KnownApp("shop", frozenset({"upload"}))


class Core:
    """Everything below HTTP, with a clock that the test sets."""

    def __init__(self, folder: Path, database: Database, url: str, **changed: Any) -> None:
        self.clock = Clock()
        self.skews: dict[str, float] = {}
        """Seconds by which a node's clock is ahead."""
        self.tickets: dict[str, str] = {}
        self.nodes = FakeNodes()
        self.database = database
        self.settings = settings(folder, url, **changed)
        self.snapshots = Snapshots(self.settings, database, self.clock)
        assert self.settings.issuer_key is not None
        self.key = SigningKey.from_json(self.settings.issuer_key.read_text())
        self.sessions = self.new_sessions()
        self.runs = Runs(self.settings.heartbeat_every)
        self.orders = DeletionOrders(self.settings, self.key)
        self.heartbeats = Heartbeats(
            self.settings, database, self.snapshots, self.runs, self.orders
        )
        take_over(database, self.nodes.roster(), self.clock.now)

    def app(self, app_id: str, *scopes: Scope) -> str:
        """Make an app; returns its API key."""
        key = self.database.write(lambda s: api_keys.create(s, app_id, scopes, self.clock.now))
        self.snapshots.forget()
        return key

    def new_sessions(self) -> SessionOpener:
        """As another process has it: with a snapshot and rates of its own."""
        snapshots = Snapshots(self.settings, self.database, self.clock)
        return SessionOpener(self.settings, self.database, snapshots, self.key, Random(1))  # noqa: S311

    def all_report(self, **changed: Any) -> dict[str, HeartbeatAnswer]:
        """A heartbeat of every node."""
        return {node_id: self.reports(node_id, **changed) for node_id in self.nodes.keys}

    def reports(self, node_id: str, **changed: Any) -> HeartbeatAnswer:
        """A heartbeat of one node, whose effect everybody sees."""
        answer = self.beats(node_id, **changed)
        self.snapshots.forget()
        return answer

    def beats(self, node_id: str, **changed: Any) -> HeartbeatAnswer:
        """A heartbeat of one node, a millisecond after what was before."""
        self.clock.pass_by(0.001)
        moment = self.clock.now + timedelta(seconds=self.skews.get(node_id, 0.0))
        for _ in range(2):
            beat = self.nodes.heartbeat(node_id, moment, ticket=self.ticket(node_id), **changed)
            token, body = self.nodes.signed(beat)
            answer = self.heartbeats.receive(node_id, token, body, self.clock.now)
            self.tickets[node_id] = answer.ticket or ""
            if answer.taken:
                break
        return answer

    def ticket(self, node_id: str) -> str:
        """That of the node's last heartbeat."""
        return self.tickets.get(node_id, "")

    def opens(self, idempotency_key: str | None = None, **wish: Any) -> Session:
        """A session of one app's, for 1000 bytes unless said otherwise; seen with fresh eyes."""
        return self.new_sessions().open(self.wish(idempotency_key, **wish), self.clock.now)[0]

    def wish(self, idempotency_key: str | None = None, **wish: Any) -> AppRequest:
        """What an app asks for."""
        values = {"owner": "user-7", "name": "a.iso", "size": 1000, **wish}
        return AppRequest(APP, SessionRequest.model_validate(values), idempotency_key)

    def takes(self, receipt: str) -> str:
        """A receipt comes in from whoever has it; returns the file's id."""
        proof = receipts.verify(self.snapshots.current(), receipt, self.clock.now)
        return self.database.write(
            lambda s: receipts.register(s, self.settings, proof, self.clock.now).file_id
        )

    def stores(self, *nodes: str) -> str:
        """A file that these nodes have, with nothing else under way; returns its id."""
        file_id = secrets.token_hex(16)
        for node_id in nodes:
            self.expects(file_id, node_id)
            self.takes(self.nodes.receipt(node_id, self.clock.now, file_id=file_id))
        self.names(file_id)
        return file_id

    def expects(self, file_id: str, node_id: str) -> None:
        """A copy of a file that is known is ordered there, as far as receipts are concerned."""

        def expect(session: Transaction) -> None:
            file = copies.lock_file(session, file_id)
            if file is not None:
                copies.expect(session, file, node_id, node_id, self.clock.now)

        self.database.write(expect)

    def names(self, file_id: str) -> None:
        """Whose file it is becomes known, as when a node has told and proved it."""

        def named(session: Transaction, file: File) -> None:
            copies.named(
                session,
                file,
                owner="somebody",
                app_id=None,
                name=file.name,
                content_type="application/octet-stream",
            )
            vouching.borne_out(session, self.settings, file, self.clock.now)

        self.on_file(file_id, named)

    def on_file(self, file_id: str, work: Callable[[Transaction, File], _Result]) -> _Result:
        """Do something with a file whose row is locked."""

        def locked(session: Transaction) -> _Result:
            file = copies.lock_file(session, file_id)
            assert file is not None
            return work(session, file)

        return self.database.write(locked)

    def copies(self, file_id: str) -> dict[str, str]:
        """Nodes and states of a file's copies."""
        return self.database.read(
            lambda s: {node: copy.state for node, copy in copies.copies_of(s, file_id).items()}
        )

    def pool(self, pool_id: str) -> tuple[int, int, int]:
        """What a pool has promised, its open sessions, what is stored there."""
        pool = self.database.read(lambda session: session.get(Pool, pool_id))
        assert pool is not None
        return pool.reserved, pool.open_sessions, pool.stored

    def file(self, file_id: str) -> File:
        """A file's row."""
        found = self.database.read(lambda session: session.get(File, file_id))
        assert found is not None
        return found

    def counts_are_right(self) -> None:
        """Every running counter says what its rows say."""
        assert self.database.read(differences) == []
