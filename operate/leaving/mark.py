"""The mark on a node that was let go: the node's own word that nothing on it was nowhere else.

It comes last, after the second look with its services stopped, so that nothing can come after it.
A deploy passes a marked node over; `fab reinstall` takes the mark away again.
"""

from __future__ import annotations

import shlex

from operate import nodes
from operate.site import Site
from portside.operator import programs


def is_there(site: Site, node_id: str) -> bool:
    """Whether the node bears it. One that can't be asked doesn't."""
    return nodes.ask(site, [node_id], ("test", "-e", programs.RETIRED))[node_id].ok


def leave(site: Site, node_id: str) -> None:
    """Mark the node, on its disk when this returns. Raises Refused with what kept it from that."""
    path = programs.RETIRED
    said = shlex.quote(f"{node_id} was retired: `fab retire NODE`.")
    script = (
        f"umask 022; printf '%s\\n' {said} > {path}.new && sync {path}.new && "
        f"mv -fT {path}.new {path} && sync {path.rpartition('/')[0]}"
    )
    nodes.ask_one(site, node_id, ("sh", "-c", script))
