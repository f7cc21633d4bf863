"""`portside token`: mint tokens for uploads, downloads and apps, and read what a token says.

A token on a command line shows in the process list: it is taken from a file or stdin only.
"""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import quote

import typer
from pydantic import BaseModel, ValidationError

from portside.client.pasted import secret_in, secret_of
from portside.client.upload.claims import DEFAULT_NAMESPACE, DEFAULT_VALID, Wish, claims_for
from portside.cluster.file import Cluster, ClusterError
from portside.commands.common import (
    ClusterFile,
    duration_option,
    keystore_of,
    load_cluster,
    printable,
    size_option,
)
from portside.operator.keystore import KeystoreError
from portside.quantities import format_duration, format_size
from portside.tokens import (
    ACCESS_TYPE,
    ADOPTION_TYPE,
    DOWNLOAD_TYPE,
    RECEIPT_TYPE,
    UPLOAD_TYPE,
    TokenRefused,
    mint_access,
    mint_download,
    mint_upload,
    unverified_claims,
    unverified_header,
    verify_access,
    verify_adoption,
    verify_download,
    verify_receipt,
    verify_upload,
)
from portside.wire.claims import AccessClaims, DownloadClaims, Right
from portside.wire.fields import Layout
from portside.wire.keys import Keyset
from portside.wire.problem import in_words

app = typer.Typer(
    help="Mint tokens for uploads, downloads and apps, read what one says, revoke one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Claims = TypeVar("_Claims", bound=BaseModel)

_ONE_HOUR = 3600
_TIMES = ("iat", "nbf", "exp", "session_deadline", "expires_at")
_SIZES = ("size", "max_size", "quota.bytes")
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
    expires_in: Annotated[
        int | None,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="The file ends by itself so long after it is stored, as 7d or 12h.",
            show_default=False,
        ),
    ] = None,
    quota: Annotated[
        int | None,
        typer.Option(
            parser=size_option,
            metavar="SIZE",
            help="What the owner may have on the node in all, this file included, as 10GiB.",
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
        expires_in=expires_in,
        quota=quota,
        quota_files=quota_files,
    )
    typer.echo(mint_upload(key, claims_for(cluster, key.owner, wish)))


@app.command()
def download(
    node: Annotated[str, typer.Option(help="The storage node that has the file, as s01.")],
    path: Annotated[
        str, typer.Option(help="The file's path there, as its upload was answered with.")
    ],
    valid: Annotated[
        int,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="How long a download may be started: 1h if left out.",
            show_default=False,
        ),
    ] = _ONE_HOUR,
    token_only: Annotated[
        bool, typer.Option("--token-only", help="Print the token instead of the URL.")
    ] = False,
    file: ClusterFile = None,
) -> None:
    """Print a URL that opens one file of a private namespace to whoever has it."""
    cluster = load_cluster(file)
    key = keystore_of(cluster).issuer_key()
    parts = path.split("/")
    if len(parts) < 2 or not set(parts).isdisjoint(("", ".", "..")):
        raise ValueError(f"{path!r} is no file's path: write it as namespace/name")
    claims = checked(DownloadClaims, cluster, key.owner, node, valid, path=path)
    token = mint_download(key, claims)
    url = f"{cluster.public_base_url(node)}/uploads/{quote(path)}?token={token}"
    typer.echo(token if token_only else url)


@app.command()
def access(
    node: Annotated[str, typer.Option(help="The storage node it is for, as s01.")],
    right: Annotated[
        list[str],
        typer.Option(
            metavar="|".join(get_args(Right)),
            help="What may be done; give it again for more than one.",
        ),
    ],
    namespace: Annotated[
        str | None, typer.Option(help="With files of this namespace only.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="With this owner's files only.")] = None,
    file_id: Annotated[str | None, typer.Option(help="With this file only.")] = None,
    holder: Annotated[
        str, typer.Option(help="Who will use it.", show_default="your user name")
    ] = "",
    valid: Annotated[
        int,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="How long it may be used: 1h if left out.",
            show_default=False,
        ),
    ] = _ONE_HOUR,
    file: ClusterFile = None,
) -> None:
    """Print a token for files that are stored: to find, read, verify or delete them."""
    cluster = load_cluster(file)
    key = keystore_of(cluster).issuer_key()
    claims = checked(
        AccessClaims,
        cluster,
        key.owner,
        node,
        valid,
        sub=holder or getpass.getuser(),
        rights=tuple(dict.fromkeys(right)),
        namespace=namespace,
        owner=owner,
        file_id=file_id,
    )
    typer.echo(mint_access(key, claims))


def checked(
    model: type[_Claims], cluster: Cluster, issuer: str, node: str, valid: int, **others: Any
) -> _Claims:
    """Claims for one of the cluster's storage nodes, valid from now on. Raises ValueError."""
    storage = cluster.with_role("storage")
    if node not in storage:
        raise ValueError(
            f"{node!r} is no storage node of cluster {cluster.name!r}: it has "
            f"{', '.join(storage) or 'none'}"
        )
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": node,
        "iat": now,
        "nbf": now,
        "exp": now + valid,
        # What it can be revoked by, without having it.
        "jti": secrets.token_urlsafe(16),
        **others,
    }
    try:
        return model.model_validate(claims)
    except ValidationError as error:
        raise ValueError(in_words(error)) from None


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
    token = secret_in(token_file) if token_file else secret_of(sys.stdin.read())
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
        # For whom it is shows among the claims: here it is checked as that node would.
        node = str(claims.get("aud"))
        if kind == RECEIPT_TYPE:
            issuer = verify_receipt(token, keys).iss
        elif kind == UPLOAD_TYPE:
            issuer = verify_upload(token, keys, node).iss
        elif kind == DOWNLOAD_TYPE:
            issuer = verify_download(token, keys, node).iss
        elif kind == ACCESS_TYPE:
            issuer = verify_access(token, keys, node).iss
        elif kind == ADOPTION_TYPE:
            issuer = verify_adoption(token, keys, node).iss
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
    if claim == "quota" and isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(f'quota.{key}', each)}" for key, each in value.items())
    return str(value)
