"""The control plane: its release, its settings, its two services."""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components.control_database import database_url
from deploys.components.keys import issuer_key, keyset
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.releases import (
    KEPT_RELEASES,
    Home,
    built_release,
    command_on_path,
    old_releases_removed,
    release_current,
    release_installed,
)
from deploys.operations.reloading import (
    next_generation,
    runs,
    serving_directories,
    serving_files,
    unit_file,
    unit_taken_over,
)
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from deploys.wheelhouse import CONTROL
from portside import sizing
from portside.operator import programs
from portside.operator.keystore import Keystore, KeystoreError

HOME = Home(
    CONTROL, layout.CONTROL_RELEASES, layout.CONTROL_CURRENT, loads="control.app, control.cli"
)
"""Where the control plane lives on a node."""

THREADS = 16
"""Requests at once, and connections to the database, of each process."""

GENERATIONS = 2
"""Processes of the web side at once: no request takes long, so that an old one is soon gone."""

_AS_ITSELF = f"runuser -u {layout.CONTROL_USER} -- "
_CHECK = f"{_AS_ITSELF}{layout.CONTROL_COMMAND} check --config {{}} >/dev/null"
_MIGRATE = f"{_AS_ITSELF}{layout.CONTROL_COMMAND} migrate"
_READY = render(
    "gunicorn/ready.py.j2", socket=layout.CONTROL_SOCKET, service=layout.CONTROL_SERVICE
)
_WAIT_UNTIL_READY = f"{layout.CONTROL_CURRENT}/venv/bin/python -I -c {shlex.quote(_READY)}"


REMOVAL = Removal(
    units=(layout.CONTROL_SERVICE, layout.CONTROL_WORKER_SERVICE),
    files=(
        *(layout.CONTROL_TOML, layout.CONTROL_GUNICORN_CONF, layout.CONTROL_DATABASE_URL),
        *(layout.ISSUER_KEY, layout.ALERTS_PASSWORD, programs.CONTROL.on_path),
    ),
    trees=(layout.CONTROL_PROGRAM,),
)
"""What it has put on a machine, its database aside."""


@deploy("Control plane")
def control(node: Node) -> None:
    """Release, keys, settings, units; the database migrated; both services on that state."""
    release, trusted, issuer = built_release(HOME, node), keyset(node), issuer_key(node)
    own = f"{layout.CONTROL_USER}:{layout.CONTROL_USER}"
    shared = f"root:{layout.SERVICE_USER}"
    private = f"root:{layout.CONTROL_USER}"
    directories_in_place(
        name="Folders",
        directories=[
            Directory(layout.CONTROL_HOME, own, 0o700),
            Directory(layout.CONTROL_PROGRAM),
            Directory(layout.CONTROL_RELEASES),
        ],
    )
    release_installed(name="Release", release=release, home=HOME)
    release_current(name="Release is the current one", release=release, home=HOME)
    files_in_place(
        name="Keys, gunicorn's settings",
        files=[
            File(layout.KEYSET, trusted, shared, 0o640),
            File(layout.ISSUER_KEY, issuer, own, 0o600),
            File(layout.CONTROL_GUNICORN_CONF, gunicorn_settings(node), private, 0o640),
            *_database_elsewhere(node, own),
            *_alerts_password(node, own),
        ],
    )
    files_in_place(
        name="Settings",
        files=[File(layout.CONTROL_TOML, control_settings(node), private, 0o640, check=_CHECK)],
    )
    files_in_place(
        name="Command on the PATH",
        files=[command_on_path(programs.CONTROL, "PORTSIDE_CONTROL_CONFIG", layout.CONTROL_TOML)],
    )
    directories_in_place(name="Folders of what serves it", directories=serving_directories())
    files_in_place(name="What serves it", files=serving_files())
    files_in_place(
        name="Units",
        files=[
            File(unit_file(name), text, check="systemd-analyze verify {}")
            for name, text in units(node).items()
        ],
    )
    converged(
        name="Control plane runs and is ready",
        service="control",
        levels=[
            # The old processes still answer while the database is migrated under them: a migration
            # never takes away what the release before it uses.
            Level(
                (unit_file(layout.CONTROL_SERVICE), *(each.path for each in serving_files())),
                f"{_MIGRATE}\n{unit_taken_over(layout.CONTROL_SERVICE, layout.CONTROL_SOCKET)}"
                f"{_WAIT_UNTIL_READY}",
            ),
            Level(
                _read_by_both(),
                f"{_MIGRATE}\n{next_generation(layout.CONTROL_SERVICE, layout.CONTROL_SOCKET)}"
                f"{_WAIT_UNTIL_READY}",
            ),
        ],
        holds=f"{runs(layout.CONTROL_SERVICE)} && {_WAIT_UNTIL_READY}",
    )
    converged(
        name="Worker runs",
        service="control-worker",
        levels=[
            Level(
                (*_read_by_both(), unit_file(layout.CONTROL_WORKER_SERVICE)),
                f"systemctl daemon-reload; "
                f"systemctl enable --quiet {layout.CONTROL_WORKER_SERVICE}; "
                f"systemctl restart {layout.CONTROL_WORKER_SERVICE}",
            )
        ],
        holds=runs(layout.CONTROL_WORKER_SERVICE),
    )
    old_releases_removed(name="Old releases are gone", home=HOME, keep=KEPT_RELEASES)


def control_settings(node: Node) -> str:
    """control.toml."""
    elsewhere = database_url(node.cluster) is None
    return render(
        "control/control.toml.j2",
        cluster=node.cluster,
        layout=layout,
        threads=THREADS,
        backups=None if elsewhere else layout.CONTROL_BACKUPS,
        database=database_url(node.cluster),
        database_file=layout.CONTROL_DATABASE_URL if elsewhere else None,
    )


def gunicorn_settings(node: Node) -> str:
    """control.gunicorn.conf.py."""
    one = node.cluster.control.database.get_secret_value() == "sqlite"
    return render(
        "gunicorn/control.conf.py.j2",
        layout=layout,
        threads=THREADS,
        processes=1 if one else max(2, min(node.facts.machine.cores, 4)),
    )


def units(node: Node) -> dict[str, str]:
    """The text of both units by name."""
    return {
        name: render(
            f"systemd/{name}.j2",
            layout=layout,
            writable=layout.CONTROL_HOME,
            memory_max=sizing.control_memory(node.facts.machine)
            + (sizing.CONTROL_HANDOVER if name == layout.CONTROL_SERVICE else 0),
            generations=GENERATIONS,
            postgresql=node.cluster.control.database.get_secret_value() == "postgresql",
            stores=isinstance(node, StorageNode),
            root=node.cluster.uploads.root,
        )
        for name in (layout.CONTROL_SERVICE, layout.CONTROL_WORKER_SERVICE)
    }


def _database_elsewhere(node: Node, owner: str) -> list[File]:
    if database_url(node.cluster) is not None:
        return []
    url = node.cluster.control.database.get_secret_value()
    return [File(layout.CONTROL_DATABASE_URL, f"{url}\n", owner, 0o600)]


def alerts_password(node: Node) -> str | None:
    """That of the mail server which takes alerts. Raises PyinfraError where one is needed and none
    can be used."""
    alerts = node.cluster.control.alerts
    if alerts is None or alerts.mail is None or alerts.mail.user is None:
        return None
    try:
        return Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).alerts_password()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None


def _alerts_password(node: Node, owner: str) -> list[File]:
    password = alerts_password(node)
    return [] if password is None else [File(layout.ALERTS_PASSWORD, password, owner, 0o600)]


def _read_by_both() -> tuple[str, ...]:
    # Keys aren't among them: the control plane follows their files.
    return (
        *(layout.CONTROL_CURRENT, layout.CONTROL_TOML, layout.CONTROL_GUNICORN_CONF),
        *(layout.CONTROL_DATABASE_URL, layout.CA_CERTIFICATE),
    )
