"""`portside export`: all files of a cluster, or an owner's or a namespace's, to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from portside.client.control import Control
from portside.client.export.manifest import MANIFEST, SUMS
from portside.client.export.run import Exported, export_all
from portside.commands.common import control_plane, say, the_login
from portside.quantities import format_size

_MISSING = 1


def command(
    folder: Annotated[Path, typer.Argument(help="Where to; made if it isn't there.")],
    namespace: Annotated[str | None, typer.Option(help="Only of this namespace.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Files at a time.")] = 4,
    manifest_only: Annotated[
        bool, typer.Option("--manifest-only", help="Write the lists, fetch nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what it came to as one JSON object.")
    ] = False,
) -> None:
    """Fetch every file that the key may read, each verified, with manifest.jsonl and SHA256SUMS.

    An app's key sees its app's files, an operator's those of the cluster. What is in the folder
    with the right digest isn't fetched again: the same command goes on.

    \b
      0  every file is there
      1  some are not: each is named, with why
      2  wrong usage, or the folder can't be written
      3  refused: the key may not
      4  the control plane is away: may be tried again
      130  interrupted
    """
    login = the_login()
    query = {"namespace": namespace, "owner": owner}
    wanted = {key: value for key, value in query.items() if value is not None}

    def connect() -> Control:
        return Control(login.url, login.api_key, login.ca)

    with control_plane(login) as control:
        done = export_all(
            control, connect, login.ca, folder, wanted, parallel, fetching=not manifest_only
        )
    for line in lines(folder, done, fetched=not manifest_only):
        say(line)
    if as_json:
        typer.echo(json.dumps(told(done)))
    raise typer.Exit(_MISSING if done.missing else 0)


def lines(folder: Path, done: Exported, *, fetched: bool) -> Iterator[str]:
    """What an export came to, for people."""
    for view, why in done.missing:
        yield f"{view.path or view.file_id}: missing: {why}"
    ended = f", {done.ended} have come to their end and are left out" if done.ended else ""
    lists = f"see {MANIFEST} and {SUMS} in {folder}"
    if fetched:
        yield (
            f"{done.fetched} files fetched ({format_size(done.bytes)}), {done.there} were there, "
            f"{len(done.missing)} missing{ended}: {lists}"
        )
    else:
        yield f"{done.there} files listed, nothing fetched{ended}: {lists}"


def told(done: Exported) -> dict[str, Any]:
    """The same, for programs."""
    missing = [{"file_id": view.file_id, "why": why} for view, why in done.missing]
    counted = {"fetched": done.fetched, "there": done.there, "bytes": done.bytes}
    return {**counted, "ended": done.ended, "missing": missing}
