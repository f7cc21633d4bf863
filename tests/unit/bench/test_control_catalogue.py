"""The catalogue of the control plane bench: as the control plane itself would have left it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from bench import control_catalogue
from control.catalogue.counters import differences
from control.cluster import rosters
from control.db.database import Database
from control.db.migrations import migrate
from control.db.models import Copy, File
from tests.support.control.cluster import FakeNodes


def test_each_file_has_two_copies_on_different_nodes_and_every_counter_is_right(
    tmp_path: Path,
) -> None:
    nodes = FakeNodes([f"s{number}" for number in range(7)])
    database = Database(f"sqlite:///{tmp_path}/control.sqlite")
    migrate(database)
    database.write(lambda session: rosters.take_over(session, nodes.roster(), datetime.now(UTC)))

    control_catalogue.fill_sqlite(tmp_path / "control.sqlite", 300, list(nodes.keys))

    assert database.read(differences) == []
    assert database.read(lambda s: s.scalar(select(func.count()).select_from(File))) == 300
    copies = select(func.count(Copy.node_id.distinct())).group_by(Copy.file_id)
    assert set(database.read(lambda s: s.scalars(copies).all())) == {2}
    database.close()
