"""When files end by themselves, and which nodes have yet to hear that it is at another moment."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("expires_in", sa.BigInteger(), nullable=True))
    op.add_column("files", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "files",
        sa.Column("lifetime_version", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_index(
        op.f("ix_files_expires_at"),
        "files",
        ["expires_at", "file_id"],
        sqlite_where=sa.text("state = 'committed' AND expires_at IS NOT NULL"),
        postgresql_where=sa.text("state = 'committed' AND expires_at IS NOT NULL"),
    )
    op.create_table(
        "lifetime_orders",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "file_id", name=op.f("pk_lifetime_orders")),
    )
