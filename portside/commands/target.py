"""Which node `portside put` talks to, and what lets files in there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from portside.client import UploadClient, login
from portside.client.pasted import secret_in, secret_of
from portside.cluster.file import Cluster
from portside.commands.common import keystore_of, load_cluster
from portside.operator.authority import authority_of
from portside.operator.keystore import Keystore
from portside.tokens import unverified_claims


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go and what lets them in: a given token, or a keystore to mint with."""

    client: UploadClient
    node_id: str
    token: str | None
    cluster: Cluster | None
    keystore: Keystore | None


def given_token(token_file: Path | None) -> str | None:
    """The token that the command was given, if any."""
    # Never an option's value: command lines can be read by everyone on the machine.
    if token_file is None:
        return secret_of(os.environ.get("PORTSIDE_TOKEN", "")) or None
    if str(token_file) == "-":
        return secret_of(sys.stdin.read())
    return secret_in(token_file)


def target_of(
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
    ca = ca or authority_of(cluster, keystore) or login.named_ca()
    client = _client(url or cluster.public_base_url(node_id), ca)
    return Target(client, node_id, token, cluster, keystore)


def _client(url: str, ca: Path | None) -> UploadClient:
    try:
        return UploadClient(url, ca)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
