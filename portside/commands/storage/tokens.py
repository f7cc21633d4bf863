"""`portside token revoke` and `revoked`: a token that got into wrong hands counts no more.

Through the control plane, which tells every node; where there is none, on the nodes themselves over
SSH. A token goes there through stdin, for a command line shows in the process list.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from portside.client import login
from portside.client.pasted import secret_of
from portside.cluster.file import Cluster
from portside.commands.common import (
    USAGE,
    ClusterFile,
    control_plane,
    keystore_of,
    load_cluster,
    print_table,
    printable,
    the_login,
)
from portside.operator import remote
from portside.operator.programs import AGENT
from portside.tokens import TokenRefused, unverified_claims
from portside.wire.fields import JTI_PATTERN
from portside.wire.keys import RevocationRequest
from portside.wire.problem import in_words

OnNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NODE",
        help="On this node itself, over SSH; give it again for more than one.",
        show_default=False,
    ),
]


def revoke(
    named: Annotated[
        str,
        typer.Argument(
            metavar="ID|-",
            help="The token's 'jti'. With -, it or the token itself is read from stdin.",
        ),
    ],
    reason: Annotated[str, typer.Option(help="For whoever reads the list.")] = "",
    node: OnNodes = None,
    file: ClusterFile = None,
) -> None:
    """Have an upload, access or download token count no more; what it stored stays.

    The control plane that you are logged in to (with an admin key) tells every node, which takes
    as long as a heartbeat. With --node or --cluster, or without a login, the storage nodes of the
    cluster file are told over SSH.
    """
    text = secret_of(sys.stdin.read()) if named == "-" else secret_of(named)
    if not text:
        raise ValueError("neither a token nor its id was given")
    if text.startswith("--") and named != "-":
        # A mistyped option would be revoked, and success told.
        raise ValueError(f"{text} is no option; if it is a token's id, give that on stdin, with -")
    cluster = _without_control_plane(node, file)
    if cluster is not None:
        words = AGENT.as_its_user("revoke", "-", *(("--reason", reason) if reason else ()))
        _on_nodes(cluster, file, node or _nodes_of(cluster, text), words, text)
        return
    try:
        # The signature alone makes a token longer than any id.
        is_id = re.fullmatch(JTI_PATTERN, text) is not None
        wish = RevocationRequest.model_validate(
            {"token_id" if is_id else "token": text, "reason": reason}
        )
    except ValidationError as error:
        raise ValueError(in_words(error)) from None
    with control_plane() as control:
        found = control.revoke(wish)
    until = f"{found.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    typer.echo(f"{found.token_id} is revoked until {until}; nodes hear it with their heartbeats")


def revoked(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    node: OnNodes = None,
    file: ClusterFile = None,
) -> None:
    """List the tokens that are revoked: at the control plane, or as each node has it."""
    cluster = _without_control_plane(node, file)
    if cluster is not None:
        if as_json:
            raise ValueError("--json is for the control plane's list: nodes print lines with tabs")
        _on_nodes(
            cluster,
            file,
            node or cluster.with_role("storage"),
            AGENT.as_its_user("revoked"),
            "",
        )
        return
    with control_plane() as control:
        found = control.revoked()
    if as_json:
        typer.echo(found.model_dump_json())
        return
    print_table(
        ("id", "kind", "node", "revoked", "until", "by", "reason"),
        [
            (
                each.token_id,
                each.kind or "-",
                each.node_id or "-",
                f"{each.revoked_at:%Y-%m-%d %H:%M}",
                f"{each.expires_at:%Y-%m-%d %H:%M}",
                each.revoked_by,
                printable(each.reason),
            )
            for each in found.revoked
        ],
    )


def _without_control_plane(nodes: Sequence[str] | None, file: Path | None) -> Cluster | None:
    """The cluster whose nodes are told themselves; None: its control plane tells them.

    Raises ValueError, NotLoggedIn and ClusterError.
    """
    if not nodes and file is None and login.current() is not None:
        return None
    cluster = load_cluster(file)
    if nodes:
        unknown = sorted(set(nodes) - set(cluster.with_role("storage")))
        if unknown:
            raise ValueError(f"no storage node of {cluster.name!r}: {', '.join(unknown)}")
        return cluster
    if cluster.control_url is None:
        return cluster
    # A node that is told by hand forgets it when it is made anew: who tells every node is asked.
    if (logged_in := the_login().url.rstrip("/")) != cluster.control_url.rstrip("/"):
        raise ValueError(
            f"{cluster.name!r} has its control plane at {cluster.control_url}, and you are logged "
            f"in to {logged_in}: `portside login {cluster.control_url}`"
        )
    return None


def _nodes_of(cluster: Cluster, text: str) -> Sequence[str]:
    """Who would take this token: the node that it names, else every one."""
    every = cluster.with_role("storage")
    try:
        named = unverified_claims(text).get("aud")
    except TokenRefused:
        return every
    return [named] if named in every else every


def _on_nodes(
    cluster: Cluster, file: Path | None, nodes: Sequence[str], words: Sequence[str], stdin: str
) -> None:
    """Run the node's own command on each. Raises typer.Exit with the worst code."""
    worst = 0
    keystore = keystore_of(cluster)
    for node_id in nodes:
        try:
            code = remote.run(cluster, node_id, words, cluster.home(Path.cwd()), keystore, stdin)
        except remote.MISTAKES as error:
            typer.echo(f"portside: {error}", err=True)
            code = USAGE
        if code:
            typer.echo(f"portside: {node_id}: not done", err=True)
        worst = max(worst, abs(code))
    if worst:
        raise typer.Exit(worst)
