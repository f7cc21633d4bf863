"""`portside app`: the API keys of apps, made, changed and revoked on the control plane's node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portside.commands.common import ClusterFile, keystore_of, load_cluster
from portside.operator import remote
from portside.operator.programs import CONTROL

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What isn't ours is for `portside-control app` on the node."""


def command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="create|list|rotate|revoke-key|revoke ...",
            help="As `portside-control app list` and its like have it.",
        ),
    ],
    file: ClusterFile = None,
) -> None:
    """Make, list, change and revoke the API keys of apps. A key is shown once, when it is made.

    Runs `portside-control app` on the control plane's node over SSH: `portside app create web`.
    """
    cluster = load_cluster(file)
    nodes = cluster.with_role("control")
    if not nodes:
        raise ValueError(f"cluster {cluster.name!r} has no node with the role control")
    words = CONTROL.as_its_user("app", *arguments)
    keystore = keystore_of(cluster)
    try:
        code = remote.run(cluster, nodes[0], words, cluster.home(Path.cwd()), keystore)
    except remote.MISTAKES as error:
        raise ValueError(str(error)) from None
    raise typer.Exit(code)
