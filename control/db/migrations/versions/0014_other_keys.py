"""A node may have a key that is to follow its own, and ones that it had before."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("other_keys", sa.JSON(), nullable=True))
