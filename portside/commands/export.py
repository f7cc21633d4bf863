"""`portside export`: all files of a cluster, or an owner's or a namespace's, to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from portside.client.control import Control
from portside.client.export.manifest import MANIFEST, SUMS, Manifest
from portside.client.export.run import Export, Exported
from portside.client.http.errors import LocalFileError
from portside.client.progress import display
from portside.commands.common import control_plane, say, the_login
from portside.commands.files import PAGE
from portside.quantities import format_size
from portside.wire.control import FileView

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalFileError(f"{folder}: {error.strerror}") from None

    def connect() -> Control:
        return Control(login.url, login.api_key, login.ca)

    with (
        control_plane(login) as control,
        display("export", None, "verified") as shown,
        Manifest.begun(folder) as manifest,
    ):
        export = Export(folder, connect, login.ca, shown)
        views = _all(control, wanted)
        if manifest_only:
            export.plan(views, manifest)
        else:
            export.run(views, manifest, parallel)
    _tell(folder, export.done, manifest_only=manifest_only, as_json=as_json)
    raise typer.Exit(_MISSING if export.done.missing else 0)


def _all(control: Control, wanted: dict[str, str]) -> Iterator[FileView]:
    """Every file that fits. Raises ControlError."""
    cursor: str | None = None
    while True:
        at = {} if cursor is None else {"cursor": cursor}
        page = control.files({**wanted, "limit": str(PAGE), **at})
        yield from page.files
        cursor = page.next
        if cursor is None or not page.files:
            return


def _tell(folder: Path, done: Exported, *, manifest_only: bool, as_json: bool) -> None:
    for view, why in done.missing:
        say(f"{view.path or view.file_id}: missing: {why}")
    if as_json:
        missing = [{"file_id": view.file_id, "why": why} for view, why in done.missing]
        counted = {"fetched": done.fetched, "there": done.there, "bytes": done.bytes}
        typer.echo(json.dumps({**counted, "ended": done.ended, "missing": missing}))
    ended = f", {done.ended} have come to their end and are left out" if done.ended else ""
    lists = f"see {MANIFEST} and {SUMS} in {folder}"
    if manifest_only:
        say(f"{done.there} files listed, nothing fetched{ended}: {lists}")
        return
    say(
        f"{done.fetched} files fetched ({format_size(done.bytes)}), {done.there} were there, "
        f"{len(done.missing)} missing{ended}: {lists}"
    )
