"""`portside keys`: the operator's secrets of a cluster, made and listed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from portside.commands.common import ClusterFile, keystore_of, load_cluster, print_table
from portside.operator import certificates, host_keys
from portside.wire.keys import PublicKey

app = typer.Typer(
    help="The issuer's keys and the lab's certificates.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def init(file: ClusterFile = None) -> None:
    """Make what the cluster is missing: an issuer key, a certificate authority.

    What is there already stays as it is. Everything lies in secrets/<cluster>, or in
    $PORTSIDE_SECRETS/<cluster>.
    """
    cluster = load_cluster(file)
    keystore = keystore_of(cluster, file)
    made = keystore.init(cluster)
    for line in made:
        typer.echo(f"made {line}")
    if not made:
        typer.echo(f"cluster {cluster.name!r} has its keys already, in {keystore.directory}")


@app.command()
def show(file: ClusterFile = None) -> None:
    """List keys and certificates: ids, validity and paths. Never a private part."""
    keystore = keystore_of(load_cluster(file), file)
    rows = [
        ("issuer key", key.public.kid, _validity(key.public), str(key.path))
        for key in keystore.issuer_keys()
    ]
    ca = keystore.ca_certificate()
    for what, name, path in [
        ("authority", keystore.cluster_name, ca),
        *(("certificate", path.stem, path) for path in keystore.node_certificates()),
    ]:
        ends = certificates.expiry(path.read_bytes())
        rows.append((what, name, f"until {ends:%Y-%m-%d}", str(path)))
    rows += [
        ("node key", node_id, _validity(key), str(keystore.directory / "nodes" / f"{node_id}.json"))
        for node_id, key in keystore.node_keys().items()
    ]
    print_table(("what", "id", "valid", "file"), rows)


@app.command()
def forget(
    node_id: Annotated[str, typer.Argument(metavar="NODE", help="The node's id, as s01.")],
    file: ClusterFile = None,
) -> None:
    """Forget a node's public key and its SSH host keys: it was made anew, or has left the cluster.

    The next deploy asks about the host key that it then shows, and gathers its own key.
    """
    keystore = keystore_of(load_cluster(file), file)
    forgot = [
        what
        for what, done in (
            ("key", keystore.forget_node_key(node_id)),
            ("SSH host keys", host_keys.forget(keystore, node_id)),
        )
        if done
    ]
    if not forgot:
        raise ValueError(f"no key of {node_id!r} is known: see `portside keys show`")
    typer.echo(f"forgot the {' and the '.join(forgot)} of {node_id}")


def _validity(key: PublicKey) -> str:
    if not key.valid_at(datetime.now(UTC)):
        return "not now"
    return f"until {key.not_after:%Y-%m-%d}" if key.not_after else "always"
