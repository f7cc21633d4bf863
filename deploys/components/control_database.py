"""The control plane's database on its node: PostgreSQL when it is chosen, and hourly backups.

PostgreSQL knows the service by its user on this node (peer authentication over the unix socket):
there is no password to keep. A database elsewhere is its owner's to back up.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.hosts.node import Node
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.reloading import runs, unit_file
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside.cluster.file import Cluster

SOCKET_FOLDER = "/run/postgresql"
NAME = "portside"
"""The database; its owner is the role named after the service's user."""

_REACHED = (
    f"runuser -u {layout.CONTROL_USER} -- psql --no-psqlrc --quiet --command 'SELECT 1' {NAME}"
)
_MAKE = f"""\
systemctl enable --quiet --now postgresql
for attempt in $(seq 300); do pg_isready --quiet && break; sleep 0.1; done
as_postgres() {{ runuser -u postgres -- "$@"; }}
names() {{ as_postgres psql --no-psqlrc --no-align --tuples-only "$@" | cut -d '|' -f 1; }}
owner={layout.CONTROL_USER}
names --command '\\du' | grep -qx $owner || as_postgres createuser $owner
names --list | grep -qx {NAME} || as_postgres createdb --owner=$owner {NAME}
"""


REMOVAL = Removal(
    units=(layout.BACKUP_SERVICE, layout.BACKUP_TIMER), files=(layout.BACKUP_COMMAND,)
)
"""What makes backups; those that were made are data."""


def database_url(cluster: Cluster) -> str | None:
    """Where the control plane's database is, as SQLAlchemy takes it; None: elsewhere."""
    chosen = cluster.control.database.get_secret_value()
    return {
        "sqlite": f"sqlite:///{layout.CONTROL_DATABASE}",
        "postgresql": f"postgresql:///{NAME}?host={SOCKET_FOLDER}",
    }.get(chosen)


@deploy("Database")
def control_database(node: Node) -> None:
    """PostgreSQL with a role and a database of the service, if that was chosen."""
    if node.cluster.control.database.get_secret_value() != "postgresql":
        return
    packages_installed(name="PostgreSQL", packages=["postgresql"])
    converged(
        name="Role and database exist",
        service="postgresql",
        holds=f"systemctl is-enabled --quiet postgresql && {_REACHED}",
        otherwise=_MAKE,
    )


@deploy("Backups")
def control_backups(node: Node) -> None:
    """A backup every hour, the newest ones kept; nothing for a database elsewhere."""
    if database_url(node.cluster) is None:
        return
    directories_in_place(
        name="Folders",
        directories=[
            Directory("/usr/local/libexec"),
            Directory(
                layout.CONTROL_BACKUPS, f"{layout.CONTROL_USER}:{layout.CONTROL_USER}", 0o700
            ),
        ],
    )
    files_in_place(
        name="Command",
        files=[
            File(
                layout.BACKUP_COMMAND,
                backup_command(node.cluster),
                mode=0o755,
                check="/usr/bin/python3 -I -c "
                "'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], \"exec\")' {}",
            )
        ],
    )
    # The timer is only right beside its service.
    for name, text in backup_units(node).items():
        files_in_place(
            name=f"Unit {name}",
            files=[File(unit_file(name), text, check="systemd-analyze verify {}")],
        )
    converged(
        name="Backups are made every hour",
        service="control-backup",
        levels=[
            Level(
                (unit_file(layout.BACKUP_SERVICE), unit_file(layout.BACKUP_TIMER)),
                f"systemctl daemon-reload; systemctl enable --quiet {layout.BACKUP_TIMER}; "
                f"systemctl restart {layout.BACKUP_TIMER}",
            )
        ],
        holds=runs(layout.BACKUP_TIMER),
    )


def backup_command(cluster: Cluster) -> str:
    """The program that backs up and restores."""
    return render(
        "control/backup.py.j2",
        layout=layout,
        kept=cluster.control.backups,
        replica=cluster.control.replica,
        postgresql=cluster.control.database.get_secret_value() == "postgresql",
        socket_folder=SOCKET_FOLDER,
        database_name=NAME,
    )


def backup_units(node: Node) -> dict[str, str]:
    """The text of the service and of its timer, by name."""
    replica = node.cluster.control.replica
    places = [layout.CONTROL_HOME, layout.CONTROL_BACKUPS]
    return {
        name: render(
            f"systemd/{name}.j2",
            layout=layout,
            writable=" ".join(places),
            postgresql=node.cluster.control.database.get_secret_value() == "postgresql",
            # Once a day the copy elsewhere is fetched, to see that it is one.
            network=replica is not None and replica.path is None,
        )
        for name in (layout.BACKUP_SERVICE, layout.BACKUP_TIMER)
    }
