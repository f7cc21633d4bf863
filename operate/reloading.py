"""`fab reload`: services and nginx read their settings again, one node after the other."""

from __future__ import annotations

from collections.abc import Sequence

from operate import nodes
from operate.locks import held
from operate.site import Site
from operate.tell import Tell
from portside.operator.programs import PROGRAMS


def reload(site: Site, node_ids: Sequence[str], tell: Tell, dry: bool = False) -> bool:
    """Reload these nodes' services; running uploads go on. Whether every node did."""
    outcomes = {}
    for node_id in node_ids:
        units = ["nginx", *(PROGRAMS[role].services[0] for role in site.cluster.roles_of(node_id))]
        words = ("sh", "-c", f"nginx -t -q && systemctl reload {' '.join(units)}")
        if dry:
            tell.line(f"{node_id}: would reload {', '.join(units)}")
            continue
        with held(site, node_id, f"reload {' '.join(units)}"):
            answer = nodes.ask(site, [node_id], words)[node_id]
        outcomes[node_id] = answer.ok
        if answer.ok:
            tell.line(f"{node_id}: reloaded {', '.join(units)}")
        else:
            tell.warn(answer.trouble)
    tell.result({"reloaded": outcomes, "dry": dry})
    return all(outcomes.values())
