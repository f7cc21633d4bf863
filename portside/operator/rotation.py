"""Keys replaced while everything goes on: whoever checks a key knows the next before it signs.

Each kind goes the same way: the next key is made and told to everybody, then it signs, then the one
before gets an end. What was reached is in the keystore, so that a rotation that broke off anywhere
is finished by the next run, and no second one is begun in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, get_args

from portside.cluster import defaults
from portside.cluster.file import Cluster
from portside.operator.keystore import Keystore, Rotation
from portside.tokens import LEEWAY, LONGEST, RESUMABLE

What = Literal["issuer", "nodes", "operator", "all"]
KINDS: tuple[str, ...] = get_args(What)

_LATE = 86400
"""Seconds more: for copies that wait for a node, and deletions that one has yet to carry out."""


class RotationStopped(Exception):
    """It can't go on now; what was reached stays. The message says what to do."""


class Hands(Protocol):
    """What a rotation needs done on machines."""

    def deploy_keys(self) -> Collection[str]:
        """Bring every node's keys and roster to what the keystore says; the ids of those that
        have them then."""

    def new_operator_key(self) -> None:
        """Another API key of the operator's, kept; the one before ends soon after."""


def overlap(cluster: Cluster) -> timedelta:
    """For how long an issuer's key counts beside the one that signs in its place: as long as the
    longest that a control plane signs, and as two clocks may differ."""
    longest = max(defaults.START_WITHIN + cluster.uploads.session_deadline, LONGEST + RESUMABLE)
    return timedelta(seconds=longest + _LATE + LEEWAY)


def rotate(
    cluster: Cluster,
    keystore: Keystore,
    what: What,
    hands: Hands,
    say: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Replace the keys of one kind, or finish what was begun before, and only that.

    Raises RotationStopped, and KeystoreError, also where another rotation is at it.
    """
    with keystore.rotating():
        _rotate(cluster, keystore, what, hands, say, now)


def _rotate(
    cluster: Cluster,
    keystore: Keystore,
    what: What,
    hands: Hands,
    say: Callable[[str], None],
    now: Callable[[], datetime],
) -> None:
    begun = keystore.rotation()
    if begun is not None:
        began = f"{begun.begun_at:%F %T} UTC"
        say(f"going on with the rotation of {begun.kinds} that was begun {began}")
    else:
        for line in keystore.let_go_of_ended(now()):
            say(line)
        begun = Rotation(
            begun_at=now(),
            issuer=what in ("issuer", "all"),
            nodes=cluster.with_role("storage") if what in ("nodes", "all") else (),
            operator=what in ("operator", "all") and bool(cluster.with_role("control")),
        )
        keystore.keep_rotation(begun)
    if begun.issuer:
        _issuer(cluster, keystore, begun, hands, say, now)
        begun = keystore.keep_rotation(begun.model_copy(update={"issuer": False}))
    if begun.nodes:
        _nodes(cluster, keystore, begun, hands, say)
        begun = keystore.keep_rotation(begun.model_copy(update={"nodes": ()}))
    if begun.operator:
        hands.new_operator_key()
        say("operator: another API key is in use")
    keystore.end_rotation()


def finish(keystore: Keystore, say: Callable[[str], None]) -> None:
    """Let go of private halves of keys that have ended. Raises RotationStopped, KeystoreError."""
    if keystore.rotation() is not None:
        raise RotationStopped("a rotation isn't done yet: run `fab rotate-keys`, which goes on")
    lines = keystore.let_go_of_ended(datetime.now(UTC))
    for line in lines or _still_counting(keystore):
        say(line)


def _issuer(
    cluster: Cluster,
    keystore: Keystore,
    begun: Rotation,
    hands: Hands,
    say: Callable[[str], None],
    now: Callable[[], datetime],
) -> None:
    following = keystore.waiting_issuer_key()
    if following is None and keystore.signing_issuer_key().created_at < begun.begun_at:
        following = keystore.make_waiting_issuer_key(cluster.name, now())
    if following is not None:
        say(f"issuer: every node is told of {following.public.kid}")
        _everywhere(cluster, hands)
        keystore.sign_with(following)
    signs = keystore.signing_issuer_key()
    say(f"issuer: {signs.public.kid} signs")
    _everywhere(cluster, hands)
    # Only now: a control plane that was out of reach would still sign with the one before.
    ends = now() + overlap(cluster)
    for former in keystore.end_other_issuer_keys(signs, ends):
        say(f"issuer: {former.public.kid} counts until {former.public.not_after:%F %T} UTC")
    _everywhere(cluster, hands)


def _nodes(
    cluster: Cluster,
    keystore: Keystore,
    begun: Rotation,
    hands: Hands,
    say: Callable[[str], None],
) -> None:
    todo = [node_id for node_id in begun.nodes if node_id in cluster.nodes]
    if not begun.told:
        say("nodes: each makes its next key, and everybody is told of them")
        _everywhere(cluster, hands)
        keystore.keep_rotation(begun.model_copy(update={"told": True}))
    say("nodes: each signs with its next key")
    _everywhere(cluster, hands)
    late = [each for each in todo if not keystore.has_taken_over(each, begun.begun_at)]
    if late:
        raise RotationStopped(f"{', '.join(late)}: still the key before; run it again")
    for node_id in todo:
        say(f"nodes: {node_id} signs with {keystore.node_keys()[node_id].kid}")


def _everywhere(cluster: Cluster, hands: Hands) -> None:
    missing = sorted(set(cluster.nodes) - set(hands.deploy_keys()))
    if missing:
        raise RotationStopped(
            f"{', '.join(missing)}: not reached, or refused (see above). Nothing signs with a key "
            "that somebody doesn't know. Mend it, or take the node out of the cluster file, then "
            "run `fab rotate-keys` again: it goes on from here"
        )


def _still_counting(keystore: Keystore) -> list[str]:
    return [
        f"{key.public.kid} counts until {key.public.not_after:%F %T} UTC: run this after that"
        for key in keystore.issuer_keys()
        if key.signing is not None and key.public.not_after is not None
    ] or ["there is nothing to finish"]
