"""The data directory, on a device of its own or on the system's disk, and the marker in it.

The marker is written only where the data filesystem is mounted: without it the agent takes no
uploads, so a missing mount can't fill the system's disk.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.hosts.node import StorageNode
from deploys.operations.block_device import data_filesystem
from deploys.operations.files import Directory, File, Guard, directories_in_place, files_in_place


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
    directories_in_place(
        name="Data folders",
        directories=[
            # Open, as are uploads and the public namespaces in it: any web server may serve these.
            Directory(root, service, 0o755),
            # setgid: whatever the agent makes below is in the group that nginx reads by.
            Directory(f"{root}/uploads", service, 0o2755),
            *(
                Directory(f"{root}/{each}", service, 0o700)
                for each in ("staging", "quarantine", "ended", "state")
            ),
        ],
        guards=mounted,
    )
    marker = f"{root}/{layout.MARKER}"
    files_in_place(
        name="Mount marker",
        files=[File(marker, f"{node.node_id}\n", service)],
        guards=[
            *mounted,
            Guard(
                f'[ ! -e {marker} ] || [ "$(cat {marker})" = {node.node_id} ]',
                f"{root} holds another node's files: see {marker}",
            ),
        ],
    )
