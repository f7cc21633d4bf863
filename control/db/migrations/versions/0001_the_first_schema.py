"""The first schema: see control.db.models for what each table and column is for."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "apps",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_apps")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_apps_key_sha256")),
    )
    op.create_table(
        "cluster_state",
        sa.Column("state_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("roster_version", sa.BigInteger(), nullable=False),
        sa.Column("deployed_version", sa.BigInteger(), nullable=False),
        sa.Column("rounds_at", sa.BigInteger(), nullable=True),
        sa.Column("listening_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("state_id", name=op.f("pk_cluster_state")),
    )
    op.create_table(
        "files",
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("factor", sa.BigInteger(), nullable=False),
        sa.Column("present", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('committed', 'deleting', 'deleted', 'lost')", name=op.f("ck_files_state")
        ),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_app_id", "files", ["app_id", "committed_at", "file_id"], unique=False)
    op.create_index("ix_files_committed_at", "files", ["committed_at", "file_id"], unique=False)
    op.create_index(
        "ix_files_deleting",
        "files",
        ["file_id"],
        unique=False,
        sqlite_where=sa.text("state = 'deleting'"),
        postgresql_where=sa.text("state = 'deleting'"),
    )
    op.create_index(
        "ix_files_namespace", "files", ["namespace", "committed_at", "file_id"], unique=False
    )
    op.create_index("ix_files_owner", "files", ["owner", "committed_at", "file_id"], unique=False)
    op.create_index(op.f("ix_files_path"), "files", ["path"], unique=False)
    op.create_index(
        "ix_files_short",
        "files",
        ["file_id"],
        unique=False,
        sqlite_where=sa.text("state = 'committed' AND present < factor"),
        postgresql_where=sa.text("state = 'committed' AND present < factor"),
    )

    op.create_table(
        "moves",
        sa.Column("move_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source_pool", sa.Text(), nullable=False),
        sa.Column("target_pool", sa.Text(), nullable=True),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("planned_bytes", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("failed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("skipped_bytes", sa.BigInteger(), nullable=False),
        sa.Column("bytes_per_second", sa.BigInteger(), nullable=True),
        sa.Column("hours_from", sa.BigInteger(), nullable=True),
        sa.Column("hours_until", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('planned', 'running', 'paused', 'cancelled', 'done', 'failed')",
            name=op.f("ck_moves_state"),
        ),
        sa.PrimaryKeyConstraint("move_id", name=op.f("pk_moves")),
    )
    op.create_index("ix_moves_state", "moves", ["state", "created_at"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("public_base_url", sa.Text(), nullable=False),
        sa.Column("upload_api_url", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("key", sa.JSON(), nullable=False),
        sa.Column("in_roster", sa.Boolean(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("down_since", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat", sa.Text(), nullable=True),
        sa.Column("disk_free", sa.BigInteger(), nullable=False),
        sa.Column("disk_total", sa.BigInteger(), nullable=False),
        sa.Column("disk_reserved", sa.BigInteger(), nullable=False),
        sa.Column("active_uploads", sa.BigInteger(), nullable=False),
        sa.Column("accepting", sa.Boolean(), nullable=False),
        sa.Column("outside_at", sa.BigInteger(), nullable=True),
        sa.Column("outside_problem", sa.Text(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("avoid_until", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "wanted IN ('active', 'readonly', 'draining', 'retired')", name=op.f("ck_nodes_wanted")
        ),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "revocations",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_revocations")),
    )
    op.create_index(op.f("ix_revocations_expires_at"), "revocations", ["expires_at"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_sha256", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("replicas", sa.JSON(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("max_size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'committed', 'expired')", name=op.f("ck_sessions_state")
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_sessions")),
        sa.UniqueConstraint(
            "app_id", "idempotency_key", name=op.f("uq_sessions_app_id_idempotency_key")
        ),
        sa.UniqueConstraint("file_id", name=op.f("uq_sessions_file_id")),
    )
    op.create_index(
        "ix_sessions_expired",
        "sessions",
        ["deadline"],
        unique=False,
        sqlite_where=sa.text("state = 'expired'"),
        postgresql_where=sa.text("state = 'expired'"),
    )
    op.create_index(
        "ix_sessions_open",
        "sessions",
        ["deadline"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )

    op.create_table(
        "work",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("move_id", sa.Text(), nullable=True),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("bytes_per_second", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('replicate', 'delete')", name=op.f("ck_work_kind")),
        sa.CheckConstraint(
            "reason IN ('repair', 'drain', 'move', 'delete', 'rebalance')",
            name=op.f("ck_work_reason"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'leased', 'done', 'failed', 'missing')",
            name=op.f("ck_work_state"),
        ),
        sa.PrimaryKeyConstraint("lease_id", name=op.f("pk_work")),
    )
    op.create_index(
        "ix_work_ended",
        "work",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_work_file", "work", ["file_id", "state"], unique=False)
    op.create_index(
        "ix_work_leased",
        "work",
        ["node_id", "leased_until"],
        unique=False,
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index("ix_work_move", "work", ["move_id", "state", "lease_id"], unique=False)
    op.create_index(
        "ix_work_waiting",
        "work",
        ["node_id", "not_before"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "uq_work_under_way",
        "work",
        ["kind", "file_id", "place"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'leased')"),
        postgresql_where=sa.text("state IN ('waiting', 'leased')"),
    )

    op.create_table(
        "copies",
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('present', 'copying', 'deleting', 'lost', 'gone')",
            name=op.f("ck_copies_state"),
        ),
        sa.ForeignKeyConstraint(["file_id"], ["files.file_id"], name=op.f("fk_copies_file_id")),
        sa.PrimaryKeyConstraint("file_id", "node_id", name=op.f("pk_copies")),
    )
    op.create_index(
        "ix_copies_copying",
        "copies",
        ["since"],
        unique=False,
        sqlite_where=sa.text("state = 'copying'"),
        postgresql_where=sa.text("state = 'copying'"),
    )
    op.create_index("ix_copies_node", "copies", ["node_id", "state", "file_id"], unique=False)

    op.create_table(
        "pools",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("public_base_url", sa.Text(), nullable=True),
        sa.Column("upload_api_url", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("weight", sa.BigInteger(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("is_upload_target", sa.Boolean(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("open_sessions", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("open_sessions >= 0", name=op.f("ck_pools_open_sessions")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_pools_reserved")),
        sa.CheckConstraint("stored >= 0", name=op.f("ck_pools_stored")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.node_id"], name=op.f("fk_pools_node_id")),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_pools")),
    )
    op.create_index(op.f("ix_pools_node_id"), "pools", ["node_id"], unique=False)


def downgrade() -> None:
    op.drop_table("pools")
    op.drop_table("copies")
    op.drop_table("work")
    op.drop_table("sessions")
    op.drop_table("revocations")
    op.drop_table("nodes")
    op.drop_table("moves")
    op.drop_table("files")
    op.drop_table("cluster_state")
    op.drop_table("apps")
