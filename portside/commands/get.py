"""`portside get`: fetch a file from the cluster, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portside.client.download.fetch import fetch
from portside.client.http.errors import DownloadError, LocalFileError
from portside.client.progress import display
from portside.client.upload.body import sha256_of
from portside.commands.common import INTERRUPTED, control_plane, printable, say, the_login
from portside.wire.control import FileView


def command(
    file_id: Annotated[str, typer.Argument(metavar="FILE-ID", help="As `ls` lists it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to: a file, or a folder to put it into under its own name.",
            show_default="this folder",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Fetch a file, verifying its SHA-256. Its path goes to stdout.

    It appears under its name only when it is complete. When a node fails, another goes on; what was
    cut off is gone on with when the same command is given again.

    \b
      0  fetched and verified, or there already
      2  wrong usage, or the file can't be written here
      3  refused: unknown file, or the key may not
      4  no node serves it now: may be tried again
      5  no node's copy has the file's SHA-256
    """
    login = the_login()
    with control_plane(login) as control:
        view = control.file(file_id)
        if view.state in ("deleted", "lost"):
            raise DownloadError(f"{file_id}: is {view.state}: there is no copy to fetch")
        destination = _destination(view, output)
        if _is_there(view, destination, force):
            say(f"{destination}: is there already, and intact")
        else:
            with display(destination.name, view.size or 0, "verified") as shown:
                try:
                    fetch(control, view, destination, login.ca, shown)
                except KeyboardInterrupt:
                    shown.say("the same command again goes on from here")
                    raise typer.Exit(INTERRUPTED) from None
    typer.echo(printable(str(destination)))


def _destination(view: FileView, output: Path | None) -> Path:
    """Where the file goes. A name from elsewhere never leads out of a folder, nor hides."""
    name = view.name or view.file_id
    if "/" in name or name.startswith(".") or not name.isprintable():
        name = view.file_id
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output


def _is_there(view: FileView, destination: Path, force: bool) -> bool:
    """Whether the very file is at `destination`. Raises LocalFileError for another one."""
    if force or not destination.exists():
        return False
    same_size = destination.is_file() and destination.stat().st_size == view.size
    if same_size and sha256_of(destination) == view.sha256:
        return True
    raise LocalFileError(f"{destination}: is there already: --force replaces it, -o goes elsewhere")
