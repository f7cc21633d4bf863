"""Storage nodes back to the release that they ran before, with the settings of that time.

    pyinfra inventory deploys/rollback.py --limit s01 -y

One after the other, each proven as when it takes over. Run again, it changes nothing: a node that
went back stays there. `--data release=<name>` names another that the node still has. The control
plane is not gone back with: docs/upgrade.md.
"""

from pyinfra.context import host

from deploys.hosts.node import this_storage_node
from deploys.rollout.going_back import rollback
from deploys.runs.arrival import arrive
from deploys.runs.trouble import contained

if "storage" in host.groups:
    with contained():
        arrive()
        rollback(node=this_storage_node(), wanted=host.data.get("release"))
