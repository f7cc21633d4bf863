"""The cluster that is operated on: its file, its secrets, and the checkout that provisions it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portside.backup.archive import BackupUnusable
from portside.backup.places import PlaceError
from portside.client.http.errors import ControlError
from portside.client.login import named_ca
from portside.cluster import file as cluster_file
from portside.cluster.file import Cluster, ClusterError
from portside.operator import remote
from portside.operator.authority import authority_of, folders
from portside.operator.keystore import Keystore, KeystoreError
from portside.operator.rotation import RotationStopped


class Refused(Exception):
    """A verb that isn't carried out, or not further; the message says why and what to do."""


MISTAKES = (
    Refused,
    ClusterError,
    KeystoreError,
    ControlError,
    RotationStopped,
    BackupUnusable,
    PlaceError,
    *remote.MISTAKES,
    OSError,
)
"""What ends a verb with a line for people: each message says what to do."""


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster, seen from the project's folder `root`."""

    path: Path
    cluster: Cluster
    keystore: Keystore
    root: Path

    @classmethod
    def at(cls, root: Path) -> Site:
        """The cluster that is meant in this folder. Raises ClusterError."""
        path = cluster_file.find(root)
        cluster = cluster_file.load(path)
        return cls(path, cluster, Keystore.for_cluster(cluster, root), root)

    @property
    def authority(self) -> Path | None:
        """The PEM file by which nodes and control plane are known; None: the system's."""
        found = authority_of(self.cluster, self.keystore, *folders(self.path, self.root))
        return found or named_ca()

    def named(self, node_ids: Sequence[str]) -> tuple[str, ...]:
        """These nodes, or all when none is named. Raises Refused for one that doesn't exist."""
        for node_id in node_ids:
            if node_id not in self.cluster.nodes:
                known = ", ".join(self.cluster.nodes)
                raise Refused(f"no node {node_id!r} in {self.path}: there are {known}")
        return tuple(dict.fromkeys(node_ids)) or tuple(self.cluster.nodes)

    def control_node(self) -> str:
        """The node with the control plane. Raises Refused where there is none."""
        nodes = self.cluster.with_role("control")
        if not nodes:
            raise Refused(f"cluster {self.cluster.name!r} has no node with the role control")
        return nodes[0]
