"""Keys and nothing else: what `fab rotate-keys` runs between its steps.

    pyinfra inventory deploys/keys.py -y

For nodes that are deployed. What the keystore says goes to the nodes: the issuers' public keys, the
key that signs, each node's next key, the roster. No service is restarted or reloaded for it.
"""

from deploys.components.keys import keys, keys_confirmed
from deploys.components.roster import roster
from deploys.hosts.node import this_node
from deploys.runs.arrival import arrive
from deploys.runs.trouble import contained

with contained():
    arrive()
    node = this_node()
    keys(node=node)
    roster(node=node)
    keys_confirmed(node=node)
