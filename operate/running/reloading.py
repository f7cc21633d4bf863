"""`fab reload`: services and nginx read their settings again, one node after the other."""

from __future__ import annotations

from collections.abc import Sequence

from operate import nodes
from operate.locks import held
from operate.site import Refused, Site
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
        try:
            with held(site, node_id, f"reload {' '.join(units)}"):
                nodes.ask_one(site, node_id, words)
        except Refused as refused:
            # Settings that one node can't read are no reason to leave the others without.
            tell.warn(str(refused))
            outcomes[node_id] = False
            continue
        outcomes[node_id] = True
        tell.line(f"{node_id}: reloaded {', '.join(units)}")
    tell.result({"reloaded": outcomes, "dry": dry})
    return all(outcomes.values())
