"""The control plane, from a bare Debian to one that hands out upload sessions.

    pyinfra inventory deploys/control_node.py -y

Run it again at any time: what is as it should be is left alone. It knows the storage nodes whose
keys were gathered before; everything at once: deploys/site.py.
"""

from pyinfra.context import host

from deploys.components.acme import acme
from deploys.components.control import control
from deploys.components.control_database import control_backups, control_database
from deploys.components.control_replica import control_replica
from deploys.components.machine.base import base
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
from deploys.hosts.node import this_node
from deploys.runs.trouble import contained

if "control" in host.groups:
    with contained():
        node = surveyed(this_node)
        base(node=node)
        tuning(node=node)
        firewall(node=node)
        ssh_server(node=node)
        hardening(node=node)
        tls(node=node)
        nginx_sandbox(node=node)
        nginx(node=node)
        acme(node=node)
        roster(node=node)
        monitoring(node=node)
        control_database(node=node)
        control(node=node)
        control_backups(node=node)
        control_replica(node=node)
