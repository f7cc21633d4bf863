"""`fab rotate-keys`: what a rotation of keys needs done on machines."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from operate import control_plane
from operate.deploying import deploy
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator import rotation


def rotate_keys(site: Site, what: str, tell: Tell, finish: bool = False, dry: bool = False) -> None:
    """Replace keys of one kind, or all. Raises one of MISTAKES; what was reached is kept, and the
    next run goes on from there."""
    if what not in rotation.KINDS:
        raise Refused(f"--what {what}: one of {', '.join(rotation.KINDS)}")
    if dry and finish:
        tell.line("would let go of private keys that have ended, and deploy the others")
        tell.result({"dry": True, "what": what, "finished": True})
        return
    if dry:
        begun = site.keystore.rotation()
        tell.line(
            f"would finish the rotation that was begun: {begun.kinds}"
            if begun
            else f"would replace: {what}; each key counts beside the next one for "
            f"{rotation.overlap(site.cluster).total_seconds() / 3600:.0f} hours"
        )
        tell.result({"dry": True, "what": what})
        return
    hands = _Hands(site, tell)
    if finish:
        rotation.finish(site.keystore, tell.line)
        hands.deploy_keys()
    else:
        rotation.rotate(site.cluster, site.keystore, cast(rotation.What, what), hands, tell.line)
    tell.result({"dry": False, "what": what, "finished": finish})


class _Hands:
    """See `rotation.Hands`."""

    def __init__(self, site: Site, tell: Tell) -> None:
        self._site = site
        self._tell = tell

    def deploy_keys(self) -> Collection[str]:
        """Run deploys/keys.py; the ids of the nodes that have everything then."""
        self._site.keystore.begin_step()
        # How it ends is no matter: each node that has everything says so in the keystore.
        deploy(self._site, "keys", self._tell)
        begun = self._site.keystore.rotation()
        return () if begun is None else begun.confirmed

    def new_operator_key(self) -> None:
        """Another API key, kept here; the one before counts for ten minutes more."""
        control_plane.another_key(self._site)
