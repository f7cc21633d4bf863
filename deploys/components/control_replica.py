"""The running copy of the control plane's SQLite database, made by litestream where it is wanted.

litestream travels in the control plane's release. It reads the database's log as it grows and
writes what is new to another disk, another machine or a bucket; its checkpoints sync the log before
the database as SQLite's own do, so that `control.db.group_commit` holds beside it.
"""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import Directory, File, Guard, directories_in_place, files_in_place
from deploys.operations.reloading import runs, unit_file
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside import sizing
from portside.cluster.replica import Replica
from portside.operator.keystore import Keystore, KeystoreError

_NONE = f"! systemctl cat {layout.REPLICA_SERVICE} >/dev/null 2>&1"
_REMOVE = (
    f"systemctl disable --quiet --now {layout.REPLICA_SERVICE}; "
    f"rm -f {unit_file(layout.REPLICA_SERVICE)} {layout.REPLICA_SETTINGS} "
    f"{layout.REPLICA_CREDENTIALS} {layout.REPLICA_KEY}; "
    f"rm -rf {layout.REPLICA_STATE}; systemctl daemon-reload"
)


REMOVAL = Removal(
    units=(layout.REPLICA_SERVICE,),
    files=(layout.REPLICA_SETTINGS, layout.REPLICA_CREDENTIALS, layout.REPLICA_KEY),
)
"""What makes it; the replica itself is data."""


@deploy("Replica of the database")
def control_replica(node: Node) -> None:
    """litestream's settings, secrets and unit; none of it where no replica is wanted."""
    replica = node.cluster.control.replica
    if replica is None:
        converged(
            name="No replica is made", service="control-replica", holds=_NONE, otherwise=_REMOVE
        )
        return
    own = f"{layout.CONTROL_USER}:{layout.CONTROL_USER}"
    if replica.path is not None:
        folder = str(replica.path)
        directories_in_place(
            name="Folder of the replica",
            directories=[Directory(folder, own, 0o700)],
            guards=[
                Guard(
                    elsewhere(replica, existing=True),
                    f"control.replica.path: {folder} is on the disk of the database "
                    f"({layout.CONTROL_HOME}), and would be lost with it: mount another one there",
                )
            ],
        )
    files_in_place(
        name="Settings, secrets",
        files=[
            *_secrets(node, replica, own),
            File(
                layout.REPLICA_SETTINGS,
                replica_settings(replica),
                f"root:{layout.CONTROL_USER}",
                0o640,
                check=f"{layout.REPLICA_COMMAND} databases -no-expand-env -config {{}} >/dev/null",
            ),
        ],
    )
    files_in_place(
        name="Unit",
        files=[
            File(
                unit_file(layout.REPLICA_SERVICE),
                replica_unit(node, replica),
                check="systemd-analyze verify {}",
            )
        ],
    )
    converged(
        name="Replica is made",
        service="control-replica",
        levels=[
            Level(
                (
                    *(layout.CONTROL_CURRENT, unit_file(layout.REPLICA_SERVICE)),
                    *(layout.REPLICA_SETTINGS, layout.REPLICA_CREDENTIALS, layout.REPLICA_KEY),
                ),
                f"systemctl daemon-reload; systemctl enable --quiet {layout.REPLICA_SERVICE}; "
                f"systemctl restart {layout.REPLICA_SERVICE}",
            )
        ],
        holds=runs(layout.REPLICA_SERVICE),
    )


def replica_settings(replica: Replica) -> str:
    """control.replica.yml, which has no secrets."""
    return render("control/litestream.yml.j2", layout=layout, replica=replica)


def replica_unit(node: Node, replica: Replica) -> str:
    """The text of the unit."""
    places = f" {replica.path}" if replica.path else ""
    return render(
        f"systemd/{layout.REPLICA_SERVICE}.j2",
        layout=layout,
        replica=replica,
        writable=layout.CONTROL_HOME + places,
        elsewhere=elsewhere(replica),
        memory_max=sizing.replica_memory(node.facts.machine),
        stores=isinstance(node, StorageNode),
        root=node.cluster.uploads.root,
    )


def elsewhere(replica: Replica, *, existing: bool = False) -> str:
    """Shell: whether the replica's folder, or what there is of it, is on a disk of its own.

    `existing`: the folder may not be there yet.
    """
    if replica.path is None:
        return "true"
    place = shlex.quote(str(replica.path))
    if existing:
        place = (
            f'"$(place={place}; while [ ! -e "$place" ]; do place=$(dirname "$place"); done; '
            'echo "$place")"'
        )
    return f'[ "$(stat -c %d {place})" != "$(stat -c %d {layout.CONTROL_HOME})" ]'


def _secrets(node: Node, replica: Replica, owner: str) -> list[File]:
    """The secret that the place asks for. Raises PyinfraError without a usable one."""
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    try:
        if replica.bucket is not None:
            text = keystore.replica_credentials()
            return [File(layout.REPLICA_CREDENTIALS, text, owner, 0o600)]
        if replica.sftp is not None:
            return [File(layout.REPLICA_KEY, keystore.replica_key(), owner, 0o600)]
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    return []
