"""The digest of what each node should have, followed copy by copy."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    op.add_column(
        "nodes", sa.Column("inventory", sa.Text(), nullable=False, server_default="0" * 64)
    )
    op.create_table(
        "inventory_changes",
        sa.Column(
            "change_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_inventory_changes")),
    )
    op.create_index(op.f("ix_inventory_changes_node_id"), "inventory_changes", ["node_id"])
    op.execute(
        "INSERT INTO inventory_changes (node_id, file_id) "
        "SELECT copies.node_id, copies.file_id FROM copies JOIN files USING (file_id) "
        "WHERE copies.state IN ('present', 'deleting') AND files.owner != 'unknown'"
    )
