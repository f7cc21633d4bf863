"""`portside put`: store files on a node and check the receipts."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from portside.client import (
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadClient,
    UploadError,
    Wish,
    claims_for,
)
from portside.client.body import sha256_of
from portside.client.progress import Display, display
from portside.client.session import DEFAULT_NAMESPACE
from portside.cluster import Cluster
from portside.commands.common import keystore_of, load_cluster, printable
from portside.keystore import Keystore
from portside.quantities import format_duration, format_size
from portside.tokens import TokenRefused, mint_upload, unverified_claims
from portside.wire import Layout, StoredFile

USAGE, REFUSED, UNAVAILABLE, UNVERIFIED, INTERRUPTED = 2, 3, 4, 5, 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go and what lets them in: a given token, or a keystore to mint with."""

    client: UploadClient
    node_id: str
    token: str | None
    cluster: Cluster | None
    keystore: Keystore | None


@dataclass(frozen=True, slots=True)
class Manner:
    """How each file is to be stored."""

    namespace: str
    layout: Layout
    owner: str
    checksum: bool


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="What to store.")],
    node: Annotated[
        str | None,
        typer.Option(help="The storage node, as s01; without it the cluster's first one."),
    ] = None,
    namespace: Annotated[str, typer.Option(help="First folder of its path.")] = DEFAULT_NAMESPACE,
    layout: Annotated[
        Layout, typer.Option(help="dated: names never clash. named: the URL is known ahead.")
    ] = "dated",
    owner: Annotated[
        str, typer.Option(help="Whose file it is.", show_default="your user name")
    ] = "",
    checksum: Annotated[
        bool,
        typer.Option(
            "--checksum", help="Read the file once before, so that the node checks its SHA-256."
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A token for this one file ('-' is stdin); also taken from $PORTSIDE_TOKEN. "
            "Without one, the cluster's issuer key makes one.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The node's URL, if not the one of the cluster file.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Authority to trust; without it the lab's own where tls.mode is lab, else the "
            "system's.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file, instead of its URL.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--cluster", help="The cluster file.", show_default=False)
    ] = None,
) -> None:
    """Store files on a node, each with a receipt whose signature is checked.

    The URL of each file goes to stdout, everything else to stderr. A file that fails doesn't stop
    the others; the exit code is the highest of theirs:

    \b
      0  all stored, all receipts verified
      2  wrong usage, or a file here that can't be read or changed meanwhile
      3  refused by the node (4xx): sending the same again won't help
      4  node not reached, connection lost, node full or failing (5xx): may be tried again
      5  the receipt doesn't verify: don't trust this upload
    """
    given = _given_token(token_file)
    if given and len(files) > 1:
        raise typer.BadParameter("a token is for one file", param_hint="FILE...")
    target = _target(given, node, url, ca, file)
    manner = Manner(namespace, layout, owner or getpass.getuser(), checksum)
    try:
        codes = [_put(path, target, manner, as_json) for path in files]
    except KeyboardInterrupt:
        typer.echo(
            "portside: interrupted before a receipt came: count the file as not stored", err=True
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        target.client.close()
    raise typer.Exit(max(codes))


def _given_token(token_file: Path | None) -> str | None:
    # Never an option's value: command lines can be read by everyone on the machine.
    if token_file is None:
        return os.environ.get("PORTSIDE_TOKEN", "").strip() or None
    if str(token_file) == "-":
        return sys.stdin.read().strip()
    return token_file.read_text(encoding="utf-8").strip()


def _target(
    token: str | None, node: str | None, url: str | None, ca: Path | None, file: Path | None
) -> Target:
    """Work out node, URL and CA. Whoever has a token, a URL and a CA needs no cluster file."""
    named = node
    if token:
        named = str(unverified_claims(token).get("aud"))
        if node and node != named:
            raise typer.BadParameter(f"the token is for node {named!r}", param_hint="--node")
    if token and url and (ca or file is None):
        return Target(_client(url, ca), str(named), token, None, None)

    cluster = load_cluster(file)
    keystore = keystore_of(cluster)
    node_id = named or next(iter(cluster.with_role("storage")), "")
    if node_id not in cluster.with_role("storage"):
        raise typer.BadParameter(
            f"{node_id!r} is no storage node of cluster {cluster.name!r}", param_hint="--node"
        )
    if ca is None and cluster.tls.mode == "lab":
        ca = keystore.ca_certificate()
    client = _client(url or cluster.public_base_url(node_id), ca)
    return Target(client, node_id, token, cluster, keystore)


def _client(url: str, ca: Path | None) -> UploadClient:
    try:
        return UploadClient(url, ca)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _put(path: Path, target: Target, manner: Manner, as_json: bool) -> int:
    """Store one file and say how that went. Returns its exit code."""
    started = time.monotonic()
    try:
        stored = _stored(path, target, manner)
    except (UploadError, TokenRefused, ValueError) as error:
        code = _exit_code(error)
        typer.echo(printable(f"portside: {path}: {_without_name(path, error)}"), err=True)
        if as_json:
            _print_json({"file": str(path), "error": str(error), "exit_code": code})
        return code
    seconds = time.monotonic() - started
    speed = stored.size / max(seconds, 1e-6) / 1e6
    typer.echo(
        f"{path.name}: {format_size(stored.size)} stored and verified in "
        f"{format_duration(seconds)}, {speed:.1f} MB/s",
        err=True,
    )
    if as_json:
        facts = stored.model_dump(mode="json")
        _print_json({"file": str(path), **facts, "seconds": round(seconds, 3), "exit_code": 0})
    else:
        typer.echo(printable(stored.url))
    return 0


def _stored(path: Path, target: Target, manner: Manner) -> StoredFile:
    size = _size_of(path)
    sha256 = None
    if manner.checksum:
        with display(path.name, size, "checksum known") as shown:
            sha256 = sha256_of(path, shown.sent)
    token = target.token or _minted(path, size, sha256, target, manner)
    with display(path.name, size, "verifying on the node") as shown:
        return target.client.put(
            path,
            token,
            sha256=sha256,
            on_progress=shown.sent,
            on_wait=lambda seconds, reason: _say_waiting(shown, seconds, reason),
        )


def _minted(path: Path, size: int, sha256: str | None, target: Target, manner: Manner) -> str:
    if target.cluster is None or target.keystore is None:
        raise AssertionError("a target without a token has a cluster")
    key = target.keystore.issuer_key()
    wish = Wish(
        node_id=target.node_id,
        owner=manner.owner,
        name=path.name,
        size=size,
        namespace=manner.namespace,
        layout=manner.layout,
        sha256=sha256,
    )
    return mint_upload(key, claims_for(target.cluster, key.owner, wish))


def _size_of(path: Path) -> int:
    try:
        if not path.is_file():
            raise LocalFileError(f"{path}: is no file" if path.exists() else f"{path}: not found")
        return path.stat().st_size
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from None


def _say_waiting(shown: Display, seconds: float, reason: NodeUnavailable) -> None:
    shown.say(f"{printable(str(reason))}; trying again in {format_duration(seconds)}")


def _exit_code(error: Exception) -> int:
    if isinstance(error, Refused):
        return REFUSED
    if isinstance(error, NodeUnavailable):
        return UNAVAILABLE
    return UNVERIFIED if isinstance(error, ReceiptRefused) else USAGE


def _without_name(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")


def _print_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts))
