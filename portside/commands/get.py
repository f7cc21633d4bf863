"""`portside get`: fetch a file from the cluster, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portside.client.control import Control
from portside.client.download.destination import file_at, is_standard, path_of, stream_of
from portside.client.download.fetch import fetch
from portside.client.download.output import Output
from portside.client.http.errors import DownloadError, LocalFileError
from portside.client.progress import display
from portside.client.upload.body import sha256_of
from portside.commands.common import control_plane, printable, say, the_login
from portside.wire.control import FileView
from portside.wire.paths import file_id_in


def command(
    file_id: Annotated[
        str, typer.Argument(metavar="FILE-ID", help="As `ls` lists it, or the URL from `put`.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Where to: a file, a folder to put it into under its own name, a pipe or device; "
            "'-' is standard output.",
            show_default="this folder",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Fetch a file, verifying its SHA-256. Its path goes to stdout, unless the file itself does.

    It appears under its name only when it is complete. When a node fails, another goes on; what was
    cut off is gone on with when the same command is given again. What goes to a pipe or a device is
    verified at its end: only exit code 0 says that it may be used.

    \b
      0  fetched and verified, or there already
      2  wrong usage, or the file can't be written here
      3  refused: unknown file, or the key may not
      4  no node serves it now: may be tried again
      5  no node's copy has the file's SHA-256
      130  interrupted
    """
    login = the_login()
    with control_plane(login) as control:
        view = control.file(file_id_in(file_id))
        if view.state in ("deleted", "lost"):
            raise DownloadError(f"{file_id}: is {view.state}: there is no copy to fetch")
        stream = stream_of(output, force)
        if stream is not None and output is not None:
            _fetch(control, view, stream, login.ca, output)
            if not is_standard(output):
                typer.echo(printable(output))
            return
        path = path_of(output, view)
        if view.name not in (None, path.name) and _is_folder(output):
            say(f"{view.name}: can't be a name here: it is {path.name}")
        if _is_there(view, path, force):
            say(f"{path}: is there already, and intact")
        else:
            part = file_at(path, view, replaces=force)
            _fetch(control, view, part, login.ca, path.name)
    typer.echo(printable(str(path)))


def _fetch(control: Control, view: FileView, output: Output, ca: Path | None, label: str) -> None:
    with display(printable(label), view.size or 0, "verified") as shown:
        try:
            fetch(control, view, output, ca, shown)
        except KeyboardInterrupt:
            if output.can_begin_anew:
                shown.say("the same command again goes on from here")
            raise


def _is_there(view: FileView, path: Path, force: bool) -> bool:
    """Whether the very file is at `path`. Raises LocalFileError for another one."""
    if force or not path.exists():
        return False
    same_size = path.is_file() and path.stat().st_size == view.size
    if same_size and sha256_of(path) == view.sha256:
        return True
    raise LocalFileError(f"{path}: is there already: --force replaces it, -o goes elsewhere")


def _is_folder(output: str | None) -> bool:
    return output is None or Path(output).is_dir()
