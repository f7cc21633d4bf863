"""The whole cluster, from bare Debians: every node as its roles want it.

    pyinfra inventory deploys/site.py -y

Run it again at any time: what is as it should be is left alone. A new node is one line in the
cluster file and one run of this. `deploys/storage_node.py` and `deploys/control_node.py` do their
part of it.
"""

from pyinfra.context import host

from deploys.components.acme import acme
from deploys.components.agent import agent, agent_release, old_releases
from deploys.components.clamav import clamav
from deploys.components.control import control
from deploys.components.control_database import control_backups, control_database
from deploys.components.control_replica import control_replica
from deploys.components.machine.base import base
from deploys.components.machine.disk import disk
from deploys.components.machine.firewall import firewall
from deploys.components.machine.hardening import hardening
from deploys.components.machine.ssh import ssh_server
from deploys.components.machine.tuning import tuning
from deploys.components.monitoring import monitoring
from deploys.components.nginx import nginx
from deploys.components.nginx_sandbox import nginx_sandbox
from deploys.components.roster import roster
from deploys.components.survey import surveyed
from deploys.components.tls import tls
from deploys.hosts.node import StorageNode, this_node
from deploys.rollout.takeover import NAME, turn_for, unproven
from deploys.rollout.turns import in_turn, nobody_failed
from deploys.runs.trouble import contained

with contained():
    node = surveyed(this_node)

    base(node=node)
    tuning(node=node)
    firewall(node=node)
    ssh_server(node=node)
    hardening(node=node)
    tls(node=node)
    nginx_sandbox(node=node)

    if isinstance(node, StorageNode):
        disk(node=node)
        clamav(node=node)
        agent_release(node=node)
        with in_turn(turn_for(node), name=NAME, anyway=unproven(node)):
            agent(node=node)
            nginx(node=node)
        old_releases()
    else:
        nginx(node=node)

    # Before the roster, as nginx: the control plane asks each node in it from outside, and leaves
    # out for a while one that doesn't answer. An authority comes to nginx before it certifies.
    acme(node=node)

    # Every node's key is gathered before any node's roster is written.
    roster(node=node)
    monitoring(node=node)

    if "control" in host.groups:
        nobody_failed(name="Storage nodes have taken over")
        control_database(node=node)
        control(node=node)
        control_backups(node=node)
        control_replica(node=node)
