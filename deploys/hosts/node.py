"""One node as the deploy sees it: what the cluster file says and what the machine is.

Everything that depends on RAM, cores or disk comes from one call of `portside.sizing.size`, so that
no two components can disagree.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from deploys.hosts import facts
from deploys.layout import BEFORE, PROJECT_ROOT
from portside import sizing
from portside.cluster import file as cluster_file
from portside.cluster.file import Cluster
from portside.cluster.roles import Role
from portside.quantities import format_size


def ports_of(cluster: Cluster, node_id: str) -> tuple[int, ...]:
    """What a node serves to the world."""
    controls = "control" in cluster.roles_of(node_id)
    return tuple(dict.fromkeys((80, 443, *([cluster.control_port(node_id)] if controls else ()))))


@dataclass(frozen=True, slots=True)
class Node:
    """A node's id, its cluster, its machine and the numbers that follow."""

    node_id: str
    cluster: Cluster
    facts: facts.NodeFacts
    sizing: sizing.Sizing
    login_user: str

    @property
    def roles(self) -> tuple[Role, ...]:
        """What the node does: `storage`, `control` or both."""
        return self.cluster.roles_of(self.node_id)

    @property
    def control_port(self) -> int:
        """Where the control plane is served if this node has it: beside a storage node's 443."""
        return self.cluster.control_port(self.node_id)

    @property
    def ports(self) -> tuple[int, ...]:
        """What the node serves to the world."""
        return ports_of(self.cluster, self.node_id)

    @property
    def host(self) -> str:
        """The node's DNS name."""
        return self.cluster.host(self.node_id)

    @property
    def open_files(self) -> int:
        """Files a process may have open: the sizing's number, less where init itself has less."""
        return min(self.sizing.open_files, self.facts.open_files)

    @property
    def sizing_fields(self) -> dict[str, int]:
        """Every number of the sizing by its name."""
        return asdict(self.sizing)


class StorageNode(Node):
    """A node that stores files, whatever else it does."""

    __slots__ = ()

    @property
    def root(self) -> PurePosixPath:
        """Where the data filesystem is mounted."""
        return self.cluster.uploads.root

    @property
    def device(self) -> str | None:
        """The block device of the data filesystem; None: it is a folder of the system's own."""
        device = self.cluster.nodes[self.node_id].device
        return None if device is None else str(device)

    @property
    def mount(self) -> PurePosixPath | None:
        """Where the filesystem of the data is mounted; None on the system's own."""
        point = self.root if self.device else self.facts.mount_point
        return None if point == PurePosixPath("/") else point


def machine(cluster: Cluster, node_id: str) -> facts.NodeFacts | None:
    """What the machine is that pyinfra is preparing now; None where that can't be read."""
    device = cluster.nodes[node_id].device
    return host.get_fact(
        facts.Node,
        root=str(cluster.uploads.root),
        device=None if device is None else str(device),
        sysctls=facts.SYSCTLS,
        before=BEFORE,
    )


def this_storage_node() -> StorageNode:
    """The storage node that pyinfra is preparing now. Raises PyinfraError like `this_node`."""
    node = this_node()
    if not isinstance(node, StorageNode):
        raise PyinfraError(f"{node.node_id} is no storage node: its roles are {node.roles}")
    return node


def this_node() -> Node:
    """The node that pyinfra is preparing now: a StorageNode if that is among its roles.

    Raises PyinfraError, before anything is changed, for a machine that isn't let in well enough, is
    too small, or is without the disk it should have.
    """
    node_id = host.data.node_id
    cluster = cluster_file.load(cluster_file.find(PROJECT_ROOT))
    found, device = machine(cluster, node_id), cluster.nodes[node_id].device
    if found is None:
        raise PyinfraError(f"{node_id}: its memory, cores and disk can't be read")
    if not found.device_present:
        raise PyinfraError(
            f"nodes.{node_id}.device: {device} is no block device on this node: see `lsblk` there"
        )
    try:
        numbers = sizing.size(found.machine)
    except ValueError as error:
        raise PyinfraError(f"{node_id}: {error}") from None
    stores = "storage" in cluster.roles_of(node_id)
    host.log(
        f"{format_size(found.machine.ram)} of RAM, {found.machine.cores} cores, "
        f"{format_size(found.machine.disk)} of disk"
        + (f": {numbers.upload_slots} uploads at once" if stores else "")
    )
    kind = StorageNode if stores else Node
    return kind(node_id, cluster, found, numbers, host.data.get("ssh_user") or "root")
