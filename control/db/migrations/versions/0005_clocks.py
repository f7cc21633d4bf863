"""Heartbeats count by tickets; how far each node's clock is off; when files were learned of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("ticket", sa.Text(), nullable=True))
    op.add_column("nodes", sa.Column("clock_skew", sa.Float(), nullable=True))
    op.add_column("cluster_state", sa.Column("learned_at", sa.BigInteger(), nullable=True))
