"""`portside token`: mint upload tokens, and read what a token says.

A token on a command line shows in the process list: it is taken from a file or stdin only.
"""

from __future__ import annotations

import getpass
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from portside.client.session import DEFAULT_NAMESPACE, DEFAULT_VALID, Wish, claims_for
from portside.cluster import ClusterError
from portside.commands.common import (
    ClusterFile,
    duration_option,
    keystore_of,
    load_cluster,
    printable,
    size_option,
)
from portside.keystore import KeystoreError
from portside.quantities import format_duration, format_size
from portside.tokens import (
    RECEIPT_TYPE,
    UPLOAD_TYPE,
    Keyset,
    TokenRefused,
    mint_upload,
    unverified_claims,
    unverified_header,
    verify_receipt,
    verify_upload,
)
from portside.wire import Layout

app = typer.Typer(
    help="Mint upload tokens, and read what a token says.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_TIMES = ("iat", "nbf", "exp", "session_deadline")
_SIZES = ("size", "max_size")
_TIME_CODES = ("token-expired", "token-not-yet-valid")


@app.command()
def mint(
    node: Annotated[str, typer.Option(help="The storage node that may take the file, as s01.")],
    size: Annotated[
        int | None,
        typer.Option(parser=size_option, metavar="SIZE", help="Exact size, as 2GiB or in bytes."),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(parser=size_option, metavar="SIZE", help="Instead: at most this.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The file's name; without it the uploader chooses.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="First folder of its path.")] = DEFAULT_NAMESPACE,
    owner: Annotated[
        str, typer.Option(help="Whose file it is.", show_default="your user name")
    ] = "",
    layout: Annotated[
        Layout, typer.Option(help="dated: names never clash. named: the URL is known ahead.")
    ] = "dated",
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="The content's digest, if known.")
    ] = None,
    valid: Annotated[
        int,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="How long it may be started: 15m if left out.",
            show_default=False,
        ),
    ] = DEFAULT_VALID,
    file: ClusterFile = None,
) -> None:
    """Print a token for one upload, signed with the cluster's issuer key, and nothing else."""
    cluster = load_cluster(file)
    key = keystore_of(cluster).issuer_key()
    wish = Wish(
        node_id=node,
        owner=owner or getpass.getuser(),
        name=name,
        size=size,
        max_size=max_size,
        namespace=namespace,
        layout=layout,
        sha256=sha256.lower() if sha256 else None,
        valid=valid,
    )
    typer.echo(mint_upload(key, claims_for(cluster, key.owner, wish)))


@app.command()
def inspect(
    token_file: Annotated[
        Path | None, typer.Argument(help="A file with the token; without it stdin is read.")
    ] = None,
    keyset: Annotated[
        Path | None,
        typer.Option(
            help="Public keys to verify with (a node's /api/v1/system/keys, for receipts); "
            "without it the cluster's issuer keys.",
            show_default=False,
        ),
    ] = None,
    file: ClusterFile = None,
) -> None:
    """Say in plain words what a token allows and whether it is good.

    Exit code 0: it verifies and is valid now. 1: it isn't, or there are no keys to tell by.
    """
    token = (token_file.read_text(encoding="utf-8") if token_file else sys.stdin.read()).strip()
    header, claims = unverified_header(token), unverified_claims(token)
    for title, values in (("header", header), ("claims", claims)):
        typer.echo(f"{title}:")
        for claim, value in values.items():
            typer.echo(printable(f"  {claim}: {_in_words(claim, value)}"))
    good, verdict = _verdict(token, str(header.get("typ")), claims, keyset, file)
    typer.echo(printable(f"verdict: {verdict}"))
    raise typer.Exit(0 if good else 1)


def _verdict(
    token: str, kind: str, claims: dict[str, Any], keyset: Path | None, file: Path | None
) -> tuple[bool, str]:
    try:
        keys = _keys(keyset, file)
        if kind == RECEIPT_TYPE:
            issuer = verify_receipt(token, keys).iss
        elif kind == UPLOAD_TYPE:
            # For whom it is shows among the claims: here it is checked as that node would.
            issuer = verify_upload(token, keys, str(claims.get("aud"))).iss
        else:
            return False, f"Portside has no tokens of typ {kind!r}"
    except (ClusterError, KeystoreError, OSError) as error:
        return False, f"nobody can tell: there are no keys to verify with: {error}"
    except TokenRefused as refused:
        signed = "signature verifies, but " if refused.code in _TIME_CODES else ""
        return False, f"not good: {signed}{refused} ({refused.code})"
    return True, f"good: signature verifies, signed by {issuer!r}"


def _keys(keyset: Path | None, file: Path | None) -> Keyset:
    if keyset is None:
        return keystore_of(load_cluster(file)).keyset()
    try:
        return Keyset.model_validate_json(keyset.read_bytes())
    except ValueError:
        raise KeystoreError(f"{keyset} is no key set (a JSON object with 'keys')") from None


def _in_words(claim: str, value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if claim in _TIMES and whole and 0 <= value < 2**40:
        moment = datetime.fromtimestamp(value, UTC)
        away = value - time.time()
        distance = f"in {format_duration(away)}" if away > 0 else f"{format_duration(-away)} ago"
        return f"{value} ({moment:%Y-%m-%d %H:%M:%S} UTC, {distance})"
    if claim in _SIZES and whole:
        return f"{value} ({format_size(value)})"
    return str(value)
