"""What alembic runs: migrations on the connection that `control.db.migrations` hands over."""

from alembic import context

from control.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite can change a table only by copying it.
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
