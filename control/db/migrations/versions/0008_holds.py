"""Files that are held: that nobody is served until they are released."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    no = sa.false()
    op.add_column("sessions", sa.Column("hold", sa.Boolean(), nullable=False, server_default=no))
    op.add_column("files", sa.Column("held", sa.Boolean(), nullable=False, server_default=no))
    op.add_column("files", sa.Column("hold", sa.Text(), nullable=True))
    op.add_column(
        "files", sa.Column("hold_version", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "hold_orders",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "file_id", name=op.f("pk_hold_orders")),
    )
    op.create_index(op.f("ix_hold_orders_file_id"), "hold_orders", ["file_id"])
