"""The data directory, on a device of its own or on the system's disk, and the marker in it.

The marker is written only where the data filesystem is mounted: without it the agent takes no
uploads, so a missing mount can't fill the system's disk.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.hosts.node import StorageNode
from deploys.operations.block_device import data_filesystem
from deploys.operations.files import Directory, File, Guard, directories_in_place, files_in_place
from deploys.operations.reloading import runs, unit_file
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged

_WATCH = "/usr/local/libexec/portside-disk"
_INDEX = "state/index.sqlite"


REMOVAL = Removal(units=(layout.DISK_SERVICE,), files=(_WATCH,))
"""What watches it. Its mount in /etc/fstab stays, as does what is on it."""


@deploy("Disk")
def disk(node: StorageNode) -> None:
    """Mount the device if there is one, then the folders, then the marker."""
    root = str(node.root)
    mounted = []
    if node.device:
        data_filesystem(
            name="Data filesystem",
            device=node.device,
            filesystem=node.cluster.uploads.filesystem,
            root=root,
        )
        mounted = [Guard(f"mountpoint -q {root}", f"{root} is not mounted: see `findmnt --verify`")]

    service = f"{layout.SERVICE_USER}:{layout.SERVICE_USER}"
    index = f"{root}/{_INDEX}"
    # A disk from before the system was installed anew: its users had other numbers.
    converged(
        name="Files of an earlier system are the agent's",
        service="owner",
        holds=f"[ ! -e {index} ] || [ $(stat -c %u {index}) = $(id -u {layout.SERVICE_USER}) ]",
        otherwise=taken_over(root),
    )
    directories_in_place(
        name="Data folders",
        directories=[
            # Open, as are uploads and the public namespaces in it: any web server may serve these.
            Directory(root, service, 0o755),
            # setgid: whatever the agent makes below is in the group that nginx reads by.
            Directory(f"{root}/uploads", service, 0o2755, in_owners_folder=True),
            *(
                Directory(f"{root}/{each}", service, 0o700, in_owners_folder=True)
                for each in ("staging", "quarantine", "ended", "state")
            ),
        ],
        guards=mounted,
    )
    marker = f"{root}/{layout.MARKER}"
    files_in_place(
        name="Mount marker",
        files=[File(marker, f"{node.node_id}\n", service, in_owners_folder=True)],
        guards=[
            *mounted,
            Guard(
                f'[ ! -e {marker} ] || [ "$(cat {marker})" = {node.node_id} ]',
                f"{root} holds another node's files: see {marker}",
            ),
        ],
    )
    if node.mount is None:
        converged(
            name="No disk is watched",
            service="disk",
            holds=f"[ ! -e {_WATCH} ]",
            otherwise=f"systemctl disable --now --quiet {layout.DISK_SERVICE}; "
            f"rm -f {_WATCH} {unit_file(layout.DISK_SERVICE)}; systemctl daemon-reload",
        )
        return
    directories_in_place(name="Folder of programs", directories=[Directory("/usr/local/libexec")])
    files_in_place(
        name="What watches the disk",
        files=[File(_WATCH, watch_command(node, node.mount), mode=0o755, check="sh -n {}")],
    )
    files_in_place(
        name="Its unit",
        files=[
            File(
                unit_file(layout.DISK_SERVICE),
                watch_unit(node.mount),
                check="systemd-analyze verify {}",
            ),
        ],
    )
    converged(
        name="The disk is watched",
        service="disk",
        levels=[
            Level(
                (_WATCH, unit_file(layout.DISK_SERVICE)),
                f"systemctl daemon-reload; systemctl enable --quiet {layout.DISK_SERVICE}; "
                f"systemctl restart {layout.DISK_SERVICE}",
            )
        ],
        holds=runs(layout.DISK_SERVICE),
    )


def taken_over(root: str) -> str:
    """Shell: all files become the service's. The index last: a run that broke off is known by it.

    In lines: what is before an `&&` may fail and end nothing.
    """
    user, index = layout.SERVICE_USER, f"{root}/{_INDEX}"
    return f"""\
find {root} -xdev ! -user {user} ! -path {index} -execdir chown -h {user}:{user} {{}} +
chown -h {user}:{user} {index}"""


def watch_command(node: StorageNode, mount: PurePosixPath) -> str:
    """The program that starts the agent when its disk comes, and stops it when that goes."""
    services = (layout.AGENT_SERVICE, layout.WORKER_SERVICE)
    return render("disk/watch.sh.j2", mount=mount, root=node.root, layout=layout, services=services)


def watch_unit(mount: PurePosixPath) -> str:
    """The unit that runs it: it writes nowhere."""
    return render("systemd/portside-disk.service.j2", mount=mount, command=_WATCH, writable="")
