"""The worker as it runs: it tells that it is alive, and no receiver holds it up."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from control.db.database import Database
from control.db.models import ClusterState
from tests.support.agent.receiver import Receiver
from tests.support.control.process import ControlPlane


@pytest.fixture
def plane(tmp_path: Path, migrated_sqlite: Path) -> Iterator[ControlPlane]:
    path = tmp_path / "control.sqlite"
    shutil.copyfile(migrated_sqlite, path)
    plane = ControlPlane(tmp_path, f"sqlite:///{path}")
    yield plane
    plane.end()


def told_to(plane: ControlPlane, url: str) -> None:
    config = plane.home / "control.toml"
    config.write_text(f'{config.read_text()}[alerts]\nwebhook = "{url}"\nheartbeat = 60\n')


def test_a_worker_tells_the_webhook_that_it_is_alive(plane: ControlPlane) -> None:
    with Receiver() as receiver:
        told_to(plane, f"{receiver.origin}/secret-path")
        plane.start_worker()
        plane.wait_for(lambda: bool(receiver.received))
    body = json.loads(receiver.received[0].body)
    assert (body["event"], body["cluster"]) == ("heartbeat", "lab")
    assert receiver.received[0].signature
    assert "secret-path" not in plane.log.read_text()


def test_a_receiver_that_says_nothing_holds_no_round_up(plane: ControlPlane) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        closing(Database(plane.settings.database_url(), connections=2)) as database,
    ):
        silent.settimeout(60)
        told_to(plane, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        plane.start_worker()
        connection, _ = silent.accept()
        with connection:
            # From here on a message is being delivered, and isn't taken.
            seen: set[datetime | None] = set()

            def goes_on() -> bool:
                seen.add(database.read(lambda s: s.scalar(select(ClusterState.rounds_at))))
                return len(seen - {None}) >= 3

            plane.wait_for(goes_on)
            connection.setblocking(False)
            assert connection.recv(65536).startswith(b"POST / ")
            with pytest.raises(BlockingIOError):
                connection.recv(1)
