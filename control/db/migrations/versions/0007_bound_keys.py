"""API keys may be bound to namespaces."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    op.add_column("apps", sa.Column("namespaces", sa.JSON(), nullable=True))
