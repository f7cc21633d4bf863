"""What each owner and each app has, counted from the files and sessions there are; their quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"

_COUNTERS = ("bytes", "files", "promised_bytes", "promised_files")

FILL = tuple(
    "INSERT INTO usage (app_id, owner, bytes, files, promised_bytes, promised_files) "  # noqa: S608 (all of it is of this file)
    "SELECT app_id, owner, SUM(bytes), SUM(files), SUM(promised), SUM(sessions) FROM ("
    f"SELECT COALESCE(app_id, '') AS app_id, {owner} AS owner, size AS bytes, 1 AS files, "
    "0 AS promised, 0 AS sessions FROM files WHERE state IN ('committed', 'lost') "
    f"UNION ALL SELECT app_id, {owner}, 0, 0, COALESCE(size, max_size, reserved), 1 "
    "FROM sessions WHERE state = 'open'"
    ") AS each_one GROUP BY app_id, owner"
    # Each owner's, then each app's: of no owner, which is everybody's together.
    for owner in ("owner", "''")
)


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        *(sa.Column(each, sa.BigInteger(), nullable=False) for each in _COUNTERS),
        sa.PrimaryKeyConstraint("app_id", "owner", name=op.f("pk_usage")),
    )
    op.create_table(
        "quotas",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("quota", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind IN ('owner', 'app')", name=op.f("ck_quotas_kind")),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_quotas")),
    )
    for statement in FILL:
        op.execute(statement)
