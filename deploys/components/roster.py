"""Who belongs to the cluster: each node's public key gathered, the roster of all on every node.

A node makes its key itself; only the public half is read. A node that shows another key than before
is refused: whoever took its place would be believed by all the others.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from deploys import layout
from deploys.hosts import facts
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import File, Guard, files_in_place
from deploys.operations.removal import Removal
from portside.cluster import roster as rosters
from portside.operator.keystore import Keystore, KeystoreError
from portside.wire.keys import PublicKey

REMOVAL = Removal(
    files=(layout.KEYSET, layout.ROSTER),
    identity=(layout.CA_CERTIFICATE, layout.TLS_PAIR),
    folders=(layout.TLS, layout.SETTINGS),
)
"""What a node knows of the cluster, and is known by."""


@operation()
def key_gathered(node_id: str, keystore: Keystore) -> Generator[StringCommand]:
    """The node's public key in the operator's keystore.

    + node_id: whose
    + keystore: where it is kept
    """
    shown = key_shown()
    known = keystore.node_keys().get(node_id)
    following = keystore.other_keys(node_id).following
    if following is not None and shown.key == following:
        if state.is_executing:
            # Not by a FunctionCommand: what that raises is shown with its traceback.
            keystore.adopt_following_key(node_id, datetime.now(UTC))
        yield StringCommand("true")
    elif shown.key is None or (known and known != shown.key):
        wrong = stranger(node_id, known, shown) or f"{node_id} shows no public key"
        yield StringCommand(Guard("false", wrong).command)
    elif known is None:
        if state.is_executing:
            keystore.keep_node_key(node_id, shown.key)
        yield StringCommand("true")


@operation()
def roster_in_place(node: Node, keystore: Keystore) -> Generator[StringCommand]:
    """roster.json with every storage node whose key is known by now.

    + node: where it is written
    + keystore: who is known
    """
    known = keystore.node_keys()
    others = {node_id: keystore.other_keys(node_id).all for node_id in known}
    wanted = rosters.build(node.cluster, known, other_keys=others)
    now = datetime.now(UTC)
    # A version is only used up once a roster is deployed with it.
    renewed = (
        keystore.renew_roster(wanted, now)
        if state.is_executing
        else rosters.renew(keystore.deployed_roster(), wanted, now)
    )
    content = renewed.model_dump_json(indent=2, exclude_none=True) + "\n"
    yield from files_in_place._inner(
        files=[File(layout.ROSTER, content, f"root:{layout.SERVICE_USER}", 0o640)]
    )


@deploy("Roster")
def roster(node: Node) -> None:
    """Gather this node's key if it stores; write the roster. Agents see the file change."""
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    try:
        known = keystore.node_keys().get(node.node_id)
        following = keystore.other_keys(node.node_id).following
        keystore.deployed_roster()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    if isinstance(node, StorageNode):
        shown = key_shown()
        refused = stranger(node.node_id, known, shown, following)
        if refused:
            raise PyinfraError(refused)
        key_gathered(name="The node's public key", node_id=node.node_id, keystore=keystore)
    roster_in_place(name="roster.json", node=node, keystore=keystore)


def key_shown() -> facts.KeyShown:
    """What the node shows as its public key now."""
    return host.get_fact(facts.PublicKeyShown, key=layout.NODE_KEY, command=layout.AGENT_COMMAND)


def stranger(
    node_id: str,
    known: PublicKey | None,
    shown: facts.KeyShown,
    following: PublicKey | None = None,
) -> str | None:
    """Why a node can't be the one it was, if so."""
    if known is None or shown.key == known or (shown.made and shown.key is None):
        return None
    if following is not None and shown.key == following:
        # A rotation broke off behind the node's last step.
        return None
    now = "has none now" if shown.key is None else f"shows {shown.key.kid}"
    return (
        f"{node_id} is known by the key {known.kid} and {now}: is this the right machine? "
        f"If it was made anew, run `portside keys forget {node_id}` and deploy again"
    )
