"""What repair, drains and moves remember beyond the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"

_SHORT = sa.text("state = 'committed' AND present < factor")
_OVER = sa.text("state = 'committed' AND present > factor")
_OPEN = sa.text("state IN ('planned', 'running', 'paused', 'failed')")


def upgrade() -> None:
    op.add_column("nodes", sa.Column("given_up_at", sa.BigInteger(), nullable=True))
    op.add_column("nodes", sa.Column("returned_at", sa.BigInteger(), nullable=True))
    op.add_column("nodes", sa.Column("drain_cursor", sa.Text(), nullable=True))
    op.add_column("copies", sa.Column("lost_as", sa.Text(), nullable=True))
    op.create_index(
        "ix_files_urgent",
        "files",
        ["present", "file_id"],
        sqlite_where=_SHORT,
        postgresql_where=_SHORT,
    )
    op.create_index(
        "ix_files_over", "files", ["file_id"], sqlite_where=_OVER, postgresql_where=_OVER
    )
    op.create_index(
        "uq_moves_open_source",
        "moves",
        ["source_pool"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_table(
        "move_files",
        sa.Column("move_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('copying', 'waiting', 'switched', 'failed', 'skipped')",
            name=op.f("ck_move_files_state"),
        ),
        sa.ForeignKeyConstraint(["move_id"], ["moves.move_id"], name=op.f("fk_move_files_move_id")),
        sa.PrimaryKeyConstraint("move_id", "file_id", name=op.f("pk_move_files")),
    )
    op.create_index("ix_move_files_state", "move_files", ["move_id", "state", "file_id"])
    op.create_index(op.f("ix_move_files_file_id"), "move_files", ["file_id"])
