"""The `portside` command for people and scripts: a cluster's files, and what is stored there.

Results go to stdout, everything else to stderr. What goes wrong is said in one clear line, never as
a traceback; PORTSIDE_TRACEBACK=1 shows one, for a bug report.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer
from typer.core import TyperGroup

from portside.client.http.errors import (
    ControlError,
    DownloadError,
    OutputClosed,
    UploadError,
)
from portside.client.login import NotLoggedIn
from portside.cluster.file import ClusterError
from portside.commands import app as app_keys
from portside.commands import (
    cluster,
    export,
    files,
    get,
    keys,
    login,
    monitoring,
    put,
    size,
    token,
)
from portside.commands.common import (
    ID_MAY_BEGIN_WITH_A_DASH,
    INTERRUPTED,
    USAGE,
    exit_code,
    say,
)
from portside.commands.storage import adoption, moves, nodes, pools, tokens, usage
from portside.operator.keystore import KeystoreError
from portside.tokens import TokenRefused

_OUR_BUG = 70
"""EX_SOFTWARE of sysexits.h: no code that a script could take for an answer."""


_NOBODY_READS = 1


class _OneClearLine(TyperGroup):
    """Turns what the commands raise into a line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ControlError, DownloadError, UploadError) as error:
            say(str(error))
            raise typer.Exit(exit_code(error)) from None
        except (ClusterError, KeystoreError, NotLoggedIn, TokenRefused, ValueError) as error:
            raise _failed(str(error), USAGE) from None
        except OutputClosed:
            raise typer.Exit(_NOBODY_READS) from None
        except BrokenPipeError:
            # Answered by the library in the same way, in silence.
            raise
        except KeyboardInterrupt:
            raise _failed("interrupted", INTERRUPTED) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise _failed(f"{where}{error.strerror or error}", USAGE) from None


def _failed(message: str, code: int) -> typer.Exit:
    typer.echo(f"portside: {message}", err=True)
    return typer.Exit(code)


app = typer.Typer(
    cls=_OneClearLine,
    help="Portside: direct-to-storage upload nodes out of bare Debian servers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cluster.app, name="cluster")
app.command("size")(size.command)
app.add_typer(keys.app, name="keys")
token.app.command("revoke", context_settings=ID_MAY_BEGIN_WITH_A_DASH)(tokens.revoke)
token.app.command("revoked")(tokens.revoked)
token.app.command("adoption")(adoption.command)
app.add_typer(token.app, name="token")
app.command("app", context_settings=app_keys.PASSED_ON)(app_keys.command)
app.command("login")(login.command)
app.command("logout")(login.logout)
app.command("put")(put.command)
app.command("ls")(files.ls)
app.command("get")(get.command)
app.command("export")(export.command)
app.command("rm")(files.rm)
app.command("keep")(files.keep)
app.command("restore")(files.restore)
app.command("hold")(files.hold)
app.command("release")(files.release)
app.command("nodes")(nodes.command)
app.command("repair")(nodes.repair)
app.add_typer(pools.app, name="pools")
app.add_typer(usage.app, name="usage")
app.add_typer(moves.app, name="moves")
app.add_typer(monitoring.app, name="monitoring")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"portside {metadata.version('portside')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    pass


def _occupy_closed_streams() -> None:
    """See to it that no file or connection gets the number of a standard stream that is closed.

    Reading one (`put - <&-`) and writing a file to one (`get -o - >&-`) fails; what would be said
    there is lost, as whoever has closed it wants.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and those below are in use by now.
            os.open(os.devnull, flags)
    sys.stdin = sys.stdin or _devnull("r")
    sys.stdout = sys.stdout or _devnull("w")
    sys.stderr = sys.stderr or _devnull("w")


def _devnull(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))


def main() -> None:
    """What the installed `portside` command runs."""
    _occupy_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name may hold what the locale can't say: it is escaped there, as stderr does it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if os.environ.get("PORTSIDE_TRACEBACK"):
            raise
        typer.echo(
            f"portside: a mistake in portside itself: {error!r}; set PORTSIDE_TRACEBACK=1 to see "
            "where",
            err=True,
        )
        raise SystemExit(_OUR_BUG) from None
