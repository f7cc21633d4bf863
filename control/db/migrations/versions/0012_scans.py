"""Copies that their own node's scanner has not released yet."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    op.add_column(
        "copies", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false())
    )
