"""By which authority a cluster's nodes are known to its operator's own commands."""

from __future__ import annotations

from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator.keystore import Keystore


def authority_of(cluster: Cluster, keystore: Keystore, *folders: Path) -> Path | None:
    """The PEM file with the cluster's own authority; None: the system's authorities know its nodes.

    `folders` are where a relative path of the cluster file may start. Raises KeystoreError for a
    lab's that was never made.
    """
    if cluster.tls.mode == "lab":
        return keystore.ca_certificate()
    if cluster.tls.authority is None:
        return None
    return located(cluster.tls.authority, *folders)


def folders(cluster_file: Path, *first: Path) -> tuple[Path, ...]:
    """Where a relative path of a cluster file may start: `first`, beside the file, or above it."""
    folder = cluster_file.absolute().parent
    return (*first, folder, folder.parent)


def located(path: Path, *folders: Path) -> Path:
    """A path of the cluster file below the first folder that has it, else below the first."""
    path = path.expanduser()
    found = (folder / path for folder in folders if (folder / path).exists())
    return next(found, folders[0] / path if folders else path)
