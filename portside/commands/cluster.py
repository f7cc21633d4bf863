"""`portside cluster`: see and check what a cluster file says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import yaml

from portside.client.http.trust import system_authorities
from portside.cluster.file import Cluster, ClusterError
from portside.commands.common import (
    ClusterFile,
    cluster_path,
    folders_of,
    load_cluster,
    print_table,
)
from portside.operator import certificates
from portside.operator.authority import located
from portside.quantities import GIB, KIB, MIB

app = typer.Typer(
    help="See and check what a cluster file says.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def show(
    file: ClusterFile = None,
    table: Annotated[bool, typer.Option("--table", help="Only the nodes, as a table.")] = False,
) -> None:
    """Print the whole configuration as YAML: defaults filled in, passwords left out.

    Under `derived` is what follows from it: roles, host names and URLs of each node.
    """
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
        return
    shown = {**_configuration(cluster), "derived": {"nodes": derived}}
    typer.echo(
        yaml.safe_dump(
            shown, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        ),
        nl=False,
    )


@app.command()
def check(file: ClusterFile = None) -> None:
    """Say every mistake in the cluster file at once, and in the certificates that it names.

    Exit code 0: none, 1: some.
    """
    try:
        path = cluster_path(file)
        cluster = load_cluster(path)
    except ClusterError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    wrong, told = _certificates(cluster, file)
    for line in (*wrong, *told):
        typer.echo(line, err=True)
    if wrong:
        raise typer.Exit(1)
    storage, control = len(cluster.with_role("storage")), len(cluster.with_role("control"))
    typer.echo(
        f"{path}: right. Cluster {cluster.name!r}: {len(cluster.nodes)} nodes, {storage} for "
        f"storage, {control} for control"
    )


def _certificates(cluster: Cluster, file: Path | None) -> tuple[list[str], list[str]]:
    """What is wrong with certificates of the operator's own, and what soon will be."""
    wrong: list[str] = []
    told: list[str] = []
    named, directory, now = cluster.tls.authority, cluster.tls.directory, datetime.now(UTC)
    # Where the authority can't be used, that is what is to be said, of no chain anything.
    roots = system_authorities() if named is None else None
    if named is not None:
        path = located(named, *folders_of(file))
        try:
            authority = path.read_bytes()
            certificates.check_authority(authority, now)
            roots = authority
        except OSError as error:
            wrong.append(f"tls.authority: {path}: {error.strerror}")
        except ValueError as error:
            wrong.append(f"tls.authority: {path}: {error}")
    if cluster.tls.mode != "files" or directory is None:
        return wrong, told
    folder = located(directory, *folders_of(file))
    if not folder.is_dir():
        return [*wrong, f"tls.directory: there is no folder {folder}"], told
    for node_id in cluster.nodes:
        certificate = folder / f"{node_id}.crt"
        try:
            pair = certificate.read_bytes(), certificate.with_suffix(".key").read_bytes()
        except OSError as error:
            wrong.append(f"{error.filename}: {error.strerror}")
            continue
        found = certificates.problems(*pair, cluster.host(node_id), now, roots)
        wrong += [f"{certificate}: {each}" for each in found]
        if not found and (soon := certificates.soon(pair[0], now)):
            told.append(f"{certificate}: {soon}")
    return wrong, told


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
