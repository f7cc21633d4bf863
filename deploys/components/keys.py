"""Keys of issuers and nodes: what a node trusts, what the control plane signs with, and a rotation.

Services follow these files (`portside.keyring`): replacing one needs no reload. `fab rotate-keys`
says in the keystore what is to be replaced, and `deploys/keys.py` does it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import UTC, datetime

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from deploys import layout
from deploys.hosts.keys import IssuersTrusted, NextKeyShown
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import File, Guard, files_in_place
from portside.operator.issuer_keys import IssuerKey
from portside.operator.keystore import Keystore, KeystoreError
from portside.operator.programs import PROGRAMS, Program

_IDENTITY = f"{layout.AGENT_COMMAND} identity --config {layout.AGENT_TOML}"


@deploy("Keys")
def keys(node: Node) -> None:
    """The keyset, the issuer's key where it signs, the node's next key while it is replaced."""
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    files = [File(layout.KEYSET, keyset(node), f"root:{layout.SERVICE_USER}", 0o640)]
    if "control" in node.roles:
        own = f"{layout.CONTROL_USER}:{layout.CONTROL_USER}"
        files.append(File(layout.ISSUER_KEY, issuer_key(node), own, 0o600))
    files_in_place(name="Keys of the issuers", files=files)
    if isinstance(node, StorageNode):
        key_rotated(name="The node's own key", node_id=node.node_id, keystore=keystore)


@deploy("Keys are in place")
def keys_confirmed(node: Node) -> None:
    """A rotation goes on once it has heard so of every node."""
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    confirmed(
        name="Keys are in place",
        node_id=node.node_id,
        programs=[PROGRAMS[role] for role in node.roles],
        keystore=keystore,
    )


@operation()
def key_rotated(node_id: str, keystore: Keystore) -> Generator[StringCommand | FunctionCommand]:
    """The node's next key made, or in the place of the one before, as a rotation wants it.

    + node_id: whose
    + keystore: where it says how far the rotation has come
    """
    rotation = keystore.rotation()
    if rotation is None or node_id not in rotation.nodes:
        return
    if keystore.has_taken_over(node_id, rotation.begun_at):
        return
    following = keystore.other_keys(node_id).following
    if following is not None and not rotation.told:
        return
    if following is not None:
        # It waits until the control plane has told of the key, so that whoever has to believe the
        # next signature knows it.
        # With `=`: an id may begin with a dash, which would make an option of it.
        yield StringCommand(f"{_IDENTITY} --take-over={following.kid} >/dev/null")
        return
    yield StringCommand(f"{_IDENTITY} --prepare >/dev/null")
    if state.is_executing:
        shown = host.get_fact(NextKeyShown, identity=_IDENTITY)
        if shown is None:
            yield StringCommand(Guard("false", f"{node_id} shows no next key").command)
        else:
            yield FunctionCommand(keystore.keep_following_key, (node_id, shown), {})


@operation()
def confirmed(
    node_id: str, programs: Sequence[Program], keystore: Keystore
) -> Generator[StringCommand | FunctionCommand]:
    """That the node has everything that this run has brought, noted in the keystore.

    + node_id: whose
    + programs: those of the node: their releases have to follow keys
    + keystore: where a rotation looks for it
    """
    rotation = keystore.rotation()
    if rotation is None or node_id in rotation.confirmed:
        return
    for program in programs:
        follows = f"ls -d {program.current}/venv/lib/python3*/site-packages/portside/keyring"
        advice = f"{program.name} doesn't follow its keys: deploy this release first"
        yield StringCommand(Guard(f"{follows} >/dev/null 2>&1", advice).command)
    yield FunctionCommand(keystore.confirm, (node_id,), {})


def keyset(node: Node) -> str:
    """The public keys of the issuers, for keyset.json.

    Raises PyinfraError without any, and where the node trusts others that nobody here knows.
    """
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    try:
        known = keystore.issuer_keys()
        found = keystore.keyset()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    distrusted = keystore.distrusted_issuer_keys()
    trusted = {kid: ends for kid, ends in issuers_trusted().items() if kid not in distrusted}
    refused = foreign_issuer(node.node_id, known, trusted, str(keystore.directory))
    if refused:
        raise PyinfraError(refused)
    return found.model_dump_json(indent=2, exclude_none=True) + "\n"


def issuers_trusted() -> dict[str, bool]:
    """Whom the node trusts now: ids of keys, and whether each has an end."""
    return host.get_fact(IssuersTrusted, keyset=layout.KEYSET)


def foreign_issuer(
    node_id: str, known: Collection[IssuerKey], trusted: Mapping[str, bool], keystore: str
) -> str | None:
    """Why the issuers of this keystore must not take the place of those a node trusts, if so.

    It would end every token that is out, in silence. A former key, which `trusted` says has an end,
    may be missing here; one without signs, and a keystore that lacks it is older than the node.
    """
    now = datetime.now(UTC)
    ours = {key.public.kid for key in known}
    unknown = {kid: ends for kid, ends in trusted.items() if kid not in ours}
    missing = sorted(kid for kid, ends in unknown.items() if not ends) or sorted(unknown)
    if not unknown or (len(unknown) < len(trusted) and all(unknown.values())):
        return None
    if any(key.replaces_until is not None and now < key.replaces_until for key in known):
        return None
    return (
        f"{node_id} trusts the issuer key {', '.join(missing)}, which is not in "
        f"{keystore}: is this the cluster's keystore (PORTSIDE_SECRETS), and its latest? A lost "
        "key is brought "
        "back by `portside keys import FILE` (the control node has it as "
        "/etc/portside/issuer.json); to begin anew, "
        f"move {keystore}/issuer away and run `portside keys init --new-issuer`: tokens that are "
        "out count no more then"
    )


def issuer_key(node: Node) -> str:
    """The private key that signs tokens, as a JWK. Raises PyinfraError without one."""
    try:
        key = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).issuer_key()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    return key.to_json().rstrip("\n") + "\n"
