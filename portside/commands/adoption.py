"""`portside token adoption`: the order by which a node makes files on its disks stored ones."""

from __future__ import annotations

from typing import Annotated

import typer

from portside.commands.common import (
    ClusterFile,
    duration_option,
    keystore_of,
    load_cluster,
    size_option,
)
from portside.commands.token import checked
from portside.orders.adoption import LONGEST
from portside.quantities import format_duration
from portside.tokens import mint_adoption
from portside.wire.claims import AdoptionClaims

_ONE_DAY = 86400


def command(
    node: Annotated[str, typer.Option(help="The storage node that has the files, as s01.")],
    namespace: Annotated[str, typer.Option(help="First folder of their paths.")],
    owner: Annotated[str, typer.Option(help="Whose files they will be.")],
    app: Annotated[
        str | None, typer.Option(help="The app whose files they will be.", show_default=False)
    ] = None,
    quota: Annotated[
        int | None,
        typer.Option(
            parser=size_option,
            metavar="SIZE",
            help="What the owner may have on the node in all, as 10TiB.",
            show_default=False,
        ),
    ] = None,
    quota_files: Annotated[
        int | None,
        typer.Option(min=0, metavar="NUMBER", help="The same in files.", show_default=False),
    ] = None,
    valid: Annotated[
        int,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="How long files may be adopted: 1d if left out, 30d at most.",
            show_default=False,
        ),
    ] = _ONE_DAY,
    file: ClusterFile = None,
) -> None:
    """Print an order to adopt files, for `portside-agent adopt` on that node, and nothing else.

    Until it ends the node may make whatever lies on its disks stored files of this owner in this
    namespace. Hand it over by standard input or in a file that nobody else may read;
    `portside token revoke` ends it early.
    """
    if valid > LONGEST:
        raise ValueError(
            f"--valid: an order counts for {format_duration(LONGEST)} at most: mint another one "
            "when it has ended, and give the same command again"
        )
    cluster = load_cluster(file)
    key = keystore_of(cluster).issuer_key()
    given = {"bytes": quota, "files": quota_files}
    most = {name: value for name, value in given.items() if value is not None}
    claims = checked(
        AdoptionClaims,
        cluster,
        key.owner,
        node,
        valid,
        namespace=namespace,
        owner=owner,
        app=app,
        quota=most or None,
    )
    typer.echo(mint_adoption(key, claims))
