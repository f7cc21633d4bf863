"""One open session for each path of the layout `named`."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"

_OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    # Sessions that are open already keep none: two of them may be for one path.
    op.add_column("sessions", sa.Column("path", sa.Text(), nullable=True))
    op.create_index(
        "uq_sessions_open_path",
        "sessions",
        ["path"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
