"""`portside cluster`: see and check what a cluster file says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import yaml

from portside.client.http.trust import system_authorities
from portside.cluster.file import Cluster, ClusterError
from portside.cluster.reading.mistake import Mistake
from portside.commands.common import (
    ClusterFile,
    cluster_path,
    keystore_of,
    load_cluster,
    print_table,
)
from portside.operator import named_files
from portside.quantities import GIB, KIB, MIB

app = typer.Typer(
    help="See and check what a cluster file says.", no_args_is_help=True, rich_markup_mode=None
)


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


@app.command()
def show(
    file: ClusterFile = None,
    table: Annotated[bool, typer.Option("--table", help="Only the nodes, as a table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the whole configuration as YAML: defaults filled in, passwords left out.

    Under `derived` is what follows from it: the control plane's URL, roles, host names and URLs of
    each node.
    """
    if table and as_json:
        raise typer.BadParameter("--table is for people, --json for programs: one of both")
    cluster = load_cluster(file)
    derived = {node_id: _derived(cluster, node_id) for node_id in cluster.nodes}
    if table:
        print_table(
            ("node", "roles", "host", "upload API"),
            [
                (node_id, ", ".join(facts["roles"]), facts["host"], facts["upload_api_url"])
                for node_id, facts in derived.items()
            ],
        )
        typer.echo(f"control plane: {cluster.control_url or 'none'}")
        return
    shown = {
        **_configuration(cluster),
        "derived": {"control_url": cluster.control_url, "nodes": derived},
    }
    if as_json:
        typer.echo(json.dumps(shown, ensure_ascii=False))
        return
    typer.echo(
        yaml.safe_dump(
            shown, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        ),
        nl=False,
    )


@app.command()
def check(file: ClusterFile = None, as_json: AsJson = False) -> None:
    """Say every mistake in the cluster file at once, and in the files that it names.

    Exit code 0: none, 1: some. Notes are about what is right and may surprise.
    """
    try:
        path = cluster_path(file)
        cluster = load_cluster(path)
    except ClusterError as error:
        if as_json:
            _print_verdict(error.source, error.mistakes, [])
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    wrong, told = named_files.checked(
        cluster, keystore_of(cluster), datetime.now(UTC), system_authorities
    )
    told = [*cluster.notes, *told]
    if as_json:
        _print_verdict(str(path), wrong, told)
    else:
        for line in (*wrong, *told):
            typer.echo(str(line), err=True)
    if wrong:
        raise typer.Exit(1)
    if as_json:
        return
    storage, control = len(cluster.with_role("storage")), len(cluster.with_role("control"))
    typer.echo(
        f"{path}: right. Cluster {cluster.name!r}: {len(cluster.nodes)} nodes, {storage} for "
        f"storage, {control} for control"
    )


def _print_verdict(path: str, wrong: Sequence[Mistake], told: Sequence[Mistake]) -> None:
    verdict = {
        "file": path,
        "right": not wrong,
        "mistakes": [asdict(each) for each in wrong],
        "notes": [asdict(each) for each in told],
    }
    typer.echo(json.dumps(verdict, ensure_ascii=False))


def _configuration(cluster: Cluster) -> dict[str, Any]:
    shown = cluster.model_dump(mode="json", exclude_none=True)
    shown["uploads"]["max_size"] = _written_size(cluster.uploads.max_size)
    shown["uploads"]["session_deadline"] = _written_duration(cluster.uploads.session_deadline)
    shown["control"]["database"] = _redacted(cluster.control.database.get_secret_value())
    return shown


def _derived(cluster: Cluster, node_id: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "roles": list(cluster.roles_of(node_id)),
        "host": cluster.host(node_id),
        "public_base_url": cluster.public_base_url(node_id),
        "upload_api_url": cluster.upload_api_url(node_id),
    }
    return facts


def _redacted(database: str) -> str:
    """A database setting without its password; what follows the path may hold one too."""
    if "://" not in database:
        return database
    url = urlsplit(database)
    user, at, server = url.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    credentials = f"{name}:***" if colon else name
    return f"{url.scheme}://{credentials}{at}{server}{url.path}{'?***' if url.query else ''}"


def _written_size(size: int) -> str | int:
    """A size as it is written in a cluster file, exact: `16GiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return size


def _written_duration(seconds: int) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"
