"""A storage node goes back to the release that it ran before, with the settings of that time."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import host

from deploys import layout
from deploys.hosts.node import StorageNode
from deploys.hosts.way_back import WayBack, Ways
from deploys.rollout.takeover import TakeOver, put_in_place
from deploys.rollout.turns import Turn, TurnFailed, waits_for_its_turn


@deploy("Rollback")
def rollback(node: StorageNode, wanted: str | None = None) -> None:
    """The last release that worked, or the one that is wanted; proven as any that is new."""
    waits_for_its_turn(lambda: turn_back(node, wanted), name="Nodes go back, one after the other")


def turn_back(node: StorageNode, wanted: str | None) -> Turn | None:
    """What the node does when it is its turn; None where it is back already."""
    ways = host.get_fact(
        WayBack, releases=layout.RELEASES, current=layout.CURRENT, before=layout.BEFORE
    )
    release = ways.before(wanted)
    batch = node.cluster.rollout.batch
    if release is None and ways.current in (None, wanted):
        return None
    if release is None and wanted is None and ways.returned:
        host.log(f"went back to {ways.current} before: for one further, --data release=<name>")
        return None
    if release is None:

        def complain() -> None:
            raise TurnFailed(
                f"there is no {wanted or 'release before'} to go back to: this node keeps "
                f"{', '.join(ways.kept) or 'none but the one that runs'}"
            )

        return Turn(complain, alone=True, batch=batch)
    own = host.state.inventory.get_host(host.name)
    over = back_to(node, own, ways, release)

    def go() -> None:
        own.log(f"goes back from {ways.current} to {release}")
        over.carry_out()

    return Turn(go, alone=True, batch=batch)


def back_to(node: StorageNode, own: Host, ways: Ways, release: str) -> TakeOver:
    """The change to a release that the node ran before, and to what was kept of it."""
    kept = layout.BEFORE if release == ways.begun else f"{layout.RELEASES}/{release}/settings"
    left = sorted({each for each in (ways.current, ways.begun) if each} - {release})
    over = TakeOver(
        node, own.state, own, lambda: put_in_place(over, kept, release), back=(release, *left)
    )
    return over
