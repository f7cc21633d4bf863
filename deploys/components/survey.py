"""Every host is looked at before anything is changed on any; all that is wrong is told at once.

Whatever would end a run half-way, or hurt what is on a host already, ends it here: what the host is
(`deploys.hosts.judgement`), and what the operator's machine has for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from deploys.components import acme, agent, clamav, control, keys, monitoring_server, roster, tls
from deploys.components.machine import hardening
from deploys.hosts import monitoring
from deploys.hosts.judgement import Asked, Judgement, judge
from deploys.hosts.node import Node, StorageNode, machine, ports_of
from deploys.hosts.ssh_server import SshServer
from deploys.hosts.survey import Survey, Surveyed
from deploys.layout import PROJECT_ROOT
from deploys.runs import questions
from deploys.runs.arrival import arrive
from portside.cluster import file as cluster_file
from portside.cluster.file import Cluster
from portside.cluster.monitoring import scraping

NodeKind = TypeVar("NodeKind", bound=Node)


class HostUnfit(PyinfraError):
    """A host that is left as it is: a line for each thing to mend there, or for it."""

    def __init__(self, node_id: str, problems: list[str]) -> None:
        self.problems = problems
        [said, *others] = problems
        if others:
            listed = "".join(f"\n  - {problem}" for problem in problems)
            said = f"{len(problems)} things to mend first{listed}"
        super().__init__(f"{node_id}: {said}")


def surveyed(look: Callable[[], NodeKind]) -> NodeKind:
    """The node that pyinfra is preparing now, by `look`, if nothing stands in its way.

    Notes are logged. Raises HostUnfit with every problem of this host.
    """
    arrive()
    node_id: str = host.data.node_id
    found = _judged(node_id)
    for note in found.notes:
        host.log(note)
    problems, node = [*found.problems], None
    try:
        node = look()
        problems += _unprepared(node)
    except PyinfraError as error:
        problems.append(_line(error, node_id))
    if problems or node is None:
        raise HostUnfit(node_id, problems)
    return node


def _judged(node_id: str) -> Judgement:
    cluster = cluster_file.load(cluster_file.find(PROJECT_ROOT))
    stores = "storage" in cluster.roles_of(node_id)
    questions.expect(
        lambda: host.get_fact(SshServer),
        lambda: _look(cluster, node_id),
        lambda: machine(cluster, node_id),
        keys.issuers_trusted,
        lambda: hardening.system(cluster.hardening),
        *([roster.key_shown] if stores else []),
    )
    server = host.get_fact(SshServer)
    asked = Asked(
        node_id=node_id,
        host=cluster.host(node_id),
        ports=ports_of(cluster, node_id),
        root=cluster.uploads.root if stores else None,
        firewall=cluster.firewall.mode == "on",
        ssh_ports=server.ports if server else (),
        allowed=cluster.firewall.rules,
        keep_nginx=cluster.nginx.keep,
        now=time.time(),
    )
    return judge(_look(cluster, node_id) or Surveyed(), asked)


def _look(cluster: Cluster, node_id: str) -> Surveyed | None:
    stores = "storage" in cluster.roles_of(node_id)
    device = cluster.nodes[node_id].device if stores else None
    return host.get_fact(
        Survey,
        host_name=cluster.host(node_id),
        root=str(cluster.uploads.root) if stores else None,
        device=None if device is None else str(device),
        ports=ports_of(cluster, node_id),
    )


def _unprepared(node: Node) -> Iterator[str]:
    """What the operator's machine lacks for this node, or has wrongly."""
    yield from monitoring.obstacles(node)
    checks: list[Callable[[], object]] = [
        lambda: tls.authority_file(node),
        lambda: keys.keyset(node),
    ]
    if node.cluster.tls.mode == "acme":
        yield from acme.obstacles(node)
    else:
        checks.append(lambda: tls.certificate_files(node))
    if scraping.monitoring_node(node.cluster) == node.node_id:
        checks.append(lambda: monitoring_server.secrets(node))
    if "control" in node.roles:
        checks.append(lambda: keys.issuer_key(node))
        checks.append(lambda: control.alerts_password(node))
    if isinstance(node, StorageNode):
        if node.cluster.installs_clamd:
            checks.append(lambda: clamav.must_fit(node))
        if node.cluster.cold is not None:
            checks.append(lambda: agent.cold_credentials(node))
    for check in checks:
        try:
            check()
        except PyinfraError as error:
            yield _line(error, node.node_id)


def _line(error: PyinfraError, node_id: str) -> str:
    """Without the host's name, which stands above it."""
    return str(error).removeprefix(f"{node_id}: ")
