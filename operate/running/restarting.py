"""`fab restart`: services start anew, one node after the other, each ready before the next one.

Those of the project: nginx, which everybody's connections go through, only by name.
`fab reload` is enough for settings. A restart is for what a reload can't mend: a service that
hangs, or a library of Debian's that was upgraded. Uploads in one request are cut by it, resumable
ones go on; so the first node that doesn't come back ends it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from operate import nodes
from operate.locks import held
from operate.look import Seen, look_at, services
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator.programs import PROGRAMS

_PATIENCE = 120.0
"""Seconds until a node has to be ready again: recovery reads what was under way first."""

_PAUSE = 1.0


def restart(
    site: Site, node_ids: Sequence[str], tell: Tell, only: str = "", dry: bool = False
) -> None:
    """Restart these nodes' services, or one of them. Raises Refused at the first that doesn't come
    back; those after it are as they were."""
    known = {unit for node_id in node_ids for unit in services(site, node_id)}
    if only and only not in known:
        raise Refused(f"--only {only}: one of {', '.join(sorted(known))}")
    restarted = []
    for node_id in node_ids:
        own = [name for role in site.cluster.roles_of(node_id) for name in PROGRAMS[role].services]
        units = [only] if only in services(site, node_id) else [] if only else own
        if not units:
            continue
        if dry:
            tell.line(f"{node_id}: would restart {', '.join(units)}")
            continue
        _one(site, node_id, units)
        tell.line(f"{node_id}: restarted {', '.join(units)}, and ready")
        restarted.append(node_id)
    tell.result({"dry": dry, "restarted": restarted})


def _one(site: Site, node_id: str, units: Sequence[str]) -> None:
    # nginx without its configuration would be gone: it is looked at first.
    words = ("sh", "-c", f"nginx -t -q && systemctl restart {' '.join(units)}")
    with held(site, node_id, f"restart {' '.join(units)}"):
        nodes.ask_one(site, node_id, words, patience=None)
        until = time.monotonic() + _PATIENCE
        while (why := _not_ready(look_at(site, [node_id])[node_id], units)) is not None:
            if time.monotonic() > until:
                raise Refused(
                    f"{node_id}: not ready {_PATIENCE:.0f} seconds after its restart: {why}: the "
                    f"nodes after it are as they were; `fab -H {node_id} logs` says more"
                )
            time.sleep(_PAUSE)


def _not_ready(seen: Seen, units: Sequence[str]) -> str | None:
    """Why the node isn't ready, if it isn't."""
    if seen.look is None:
        return seen.unreached
    for unit in units:
        if seen.look.units.get(unit) != "active":
            return f"{unit} is {seen.look.units.get(unit)}"
    reasons = [why for each in seen.look.ready.values() if not each.ready for why in each.reasons]
    return ", ".join(reasons) or None
