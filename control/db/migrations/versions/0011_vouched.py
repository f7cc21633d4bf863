"""Files that are in the catalogue by one node's word alone."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    op.add_column("files", sa.Column("vouched_by", sa.Text(), nullable=True))
    op.create_index(
        op.f("ix_files_vouched_by"),
        "files",
        ["vouched_by", "file_id"],
        sqlite_where=sa.text("vouched_by IS NOT NULL"),
        postgresql_where=sa.text("vouched_by IS NOT NULL"),
    )
