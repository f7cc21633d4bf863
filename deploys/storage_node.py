"""A storage node, from a bare Debian to a node that takes uploads.

    pyinfra inventory deploys/storage_node.py -y

Run it again at any time: what is as it should be is left alone. The whole cluster: deploys/site.py.
"""

from pyinfra.context import host

from deploys.components.acme import acme
from deploys.components.agent import agent, agent_release, old_releases
from deploys.components.clamav import clamav
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
from deploys.hosts.node import this_storage_node
from deploys.rollout.takeover import NAME, turn_for, unproven
from deploys.rollout.turns import in_turn
from deploys.runs.trouble import contained

if "storage" in host.groups:
    with contained():
        node = surveyed(this_storage_node)
        base(node=node)
        tuning(node=node)
        firewall(node=node)
        ssh_server(node=node)
        hardening(node=node)
        disk(node=node)
        tls(node=node)
        nginx_sandbox(node=node)
        clamav(node=node)
        agent_release(node=node)
        with in_turn(turn_for(node), name=NAME, anyway=unproven(node)):
            agent(node=node)
            nginx(node=node)
        old_releases()
        acme(node=node)
        roster(node=node)
        monitoring(node=node)
