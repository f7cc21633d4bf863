"""A node is let go for good: `fab retire` runs this, once nothing on it is nowhere else.

    pyinfra inventory deploys/retire_node.py --limit s01 --data leaving=s01 -y

On the node itself its services are stopped and nginx serves none of its files any more; its data
stays. On the others only the roster is written, without it.
"""

from pyinfra.context import host

from deploys.components.leaving import retired
from deploys.components.roster import roster
from deploys.hosts.node import this_node
from deploys.runs.arrival import arrive
from deploys.runs.trouble import RunRefused, contained

with contained():
    leaving = host.data.get("leaving")
    if not leaving:
        raise RunRefused("say which node leaves: --data leaving=NODE. `fab retire NODE` does")
    arrive()
    if host.data.node_id == leaving:
        retired(node=this_node())
    else:
        roster(node=this_node())
