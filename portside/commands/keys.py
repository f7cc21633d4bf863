"""`portside keys`: the operator's secrets of a cluster, made and listed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from portside.commands.common import (
    ID_MAY_BEGIN_WITH_A_DASH,
    ClusterFile,
    keystore_of,
    load_cluster,
    print_table,
)
from portside.operator import certificates, known_hosts
from portside.operator.issuer_keys import IssuerKey
from portside.wire.keys import PublicKey

app = typer.Typer(
    help="The issuer's keys and the lab's certificates.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def init(
    file: ClusterFile = None,
    new_issuer: Annotated[
        bool,
        typer.Option(
            "--new-issuer",
            help="Begin anew with an issuer key, the one before being lost: nodes take it for a "
            "day, and tokens that are out count no more.",
        ),
    ] = False,
) -> None:
    """Make what the cluster is missing: an issuer key, a certificate authority.

    What is there already stays as it is. Everything lies in secrets/<cluster>, or in
    $PORTSIDE_SECRETS/<cluster>.
    """
    cluster = load_cluster(file)
    keystore = keystore_of(cluster)
    made = keystore.init(cluster, new_issuer=new_issuer)
    for line in made:
        typer.echo(f"made {line}")
    if not made:
        typer.echo(f"cluster {cluster.name!r} has its keys already, in {keystore.directory}")


@app.command()
def show(file: ClusterFile = None) -> None:
    """List keys and certificates: ids, validity and paths. Never a private part."""
    keystore = keystore_of(load_cluster(file))
    rows = [
        ("issuer key", key.public.kid, _state(key), str(key.path)) for key in keystore.issuer_keys()
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
    keystore = keystore_of(load_cluster(file))
    forgot = [
        what
        for what, done in (
            ("key", keystore.forget_node_key(node_id)),
            ("SSH host keys", known_hosts.forget(keystore, node_id)),
        )
        if done
    ]
    if not forgot:
        raise ValueError(f"no key of {node_id!r} is known: see `portside keys show`")
    typer.echo(f"forgot the {' and the '.join(forgot)} of {node_id}")


@app.command(name="import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A private issuer key (JWK), or a node's keyset.json; - reads it from stdin.",
        ),
    ],
    file: ClusterFile = None,
) -> None:
    """Bring back an issuer's keys: from a backup, or from the control node that signs with one.

    ssh root@c01.example.net cat /etc/portside/issuer.json | portside keys import -

    Then the public halves of those before it, which what they signed is checked with:

    ssh root@c01.example.net cat /etc/portside/keyset.json | portside keys import -
    """
    keystore = keystore_of(load_cluster(file))
    text = sys.stdin.read() if str(source) == "-" else source.read_text(encoding="utf-8")
    kept = keystore.import_issuer_keys(text)
    for kid in kept or ():
        typer.echo(f"issuer key {kid} is kept")
    if not kept:
        typer.echo("that is here already")


@app.command(context_settings=ID_MAY_BEGIN_WITH_A_DASH)
def distrust(
    kid: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `keys show` has it.")],
    file: ClusterFile = None,
) -> None:
    """Forget a former issuer key that was stolen: nothing that it signed counts any more.

    In force with the next deploy. The key that signs is replaced first: `fab rotate-keys`.
    """
    keystore_of(load_cluster(file)).distrust_issuer_key(kid)
    typer.echo(f"forgot the issuer key {kid}: deploy, so that nodes do, too")


def _state(key: IssuerKey) -> str:
    if key.waiting:
        return "next"
    return _validity(key.public) + ("" if key.signing else ", public half")


def _validity(key: PublicKey) -> str:
    if not key.valid_at(datetime.now(UTC)):
        return "not now"
    return f"until {key.not_after:%Y-%m-%d}" if key.not_after else "always"
