"""A clock that was ahead and is set back: nothing that was noted meanwhile waits for tomorrow."""

from __future__ import annotations

from pathlib import Path

from agent.index.database import Database
from agent.integrity import set_back
from agent.outbox import cold_orders

NOW = 1_800_000_000
DAY = 86400
TOMORROW = NOW + DAY


def test_what_was_to_be_tried_again_tomorrow_is_tried_now(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    with database.transaction() as connection:
        for number, (due, state) in enumerate(
            [(TOMORROW, "WAITING"), (NOW - 5, "WAITING"), (TOMORROW, "DEAD")]
        ):
            connection.execute(
                "INSERT INTO pushes (file_id, target, own, state, due, ordered_at) "
                "VALUES (?, 's02', 1, ?, ?, ?)",
                (f"{number:032x}", state, due, due),
            )
        for kind in ("receipt", cold_orders.BACKUP, cold_orders.REMOVAL):
            connection.execute(
                "INSERT INTO deliveries (file_id, kind, target, state, due) "
                "VALUES (?, ?, 'somewhere', 'WAITING', ?)",
                ("a" * 32, kind, TOMORROW),
            )
        revoked = "INSERT INTO revoked (jti, told_at) VALUES ('token-1', ?)"
        connection.execute(revoked, (TOMORROW,))
    set_back.bring_back(database, NOW)
    pushes = database.rows("SELECT due, ordered_at FROM pushes ORDER BY file_id")
    assert pushes == [(NOW, NOW), (NOW - 5, NOW - 5), (TOMORROW, NOW)]
    assert dict(database.rows("SELECT kind, due FROM deliveries")) == {
        "receipt": NOW,
        cold_orders.BACKUP: NOW,
        # Asked for as so many days after the deletion: never sooner.
        cold_orders.REMOVAL: TOMORROW,
    }
    assert database.rows("SELECT told_at FROM revoked") == [(NOW,)]
    database.close()


def test_a_file_that_seems_to_be_read_tomorrow_is_read_in_its_turn(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    with database.transaction() as connection:
        for number, verified_at in enumerate((TOMORROW * 10**6, (NOW - DAY) * 10**6, None)):
            connection.execute(
                "INSERT INTO files VALUES "
                "(?, ?, ?, 'COMMITTED', '', '', 'isos', 'alice', 'a', '', 1, 0, ?)",
                (f"{number:032x}", f"jti-{number}", f"isos/{number}", verified_at),
            )
    set_back.bring_back(database, NOW)
    rows = database.rows("SELECT verified_at FROM files ORDER BY file_id")
    assert rows == [(NOW * 10**6,), ((NOW - DAY) * 10**6,), (None,)]
    database.close()
