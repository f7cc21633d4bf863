"""Files that were deleted long ago are found, to be forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    deleted = sa.text("state = 'deleted'")
    op.create_index(
        "ix_files_deleted",
        "files",
        ["changed_at", "file_id"],
        sqlite_where=deleted,
        postgresql_where=deleted,
    )
