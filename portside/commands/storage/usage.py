"""`portside usage`: who has how much, of how much; and quotas set without a deploy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from portside.cluster.quotas import UNLIMITED
from portside.commands.common import control_plane, print_table, printable, say, size_option
from portside.quantities import format_size
from portside.wire.status import CountedShare, QuotaInForce, QuotaWish, UsageView

app = typer.Typer(
    help="Say who has how much, of how much; set quotas.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

PAGE = 500
"""Lines of one request."""

_HEADERS = ("app", "owner", "bytes", "of", "left", "files", "of", "left", "promised")

_Owner = Annotated[str | None, typer.Argument(metavar="[OWNER]", help="As `usage` names it.")]
_App = Annotated[
    str | None, typer.Option("--app", help="Of all owners of this app together.", metavar="APP")
]


def _bytes_option(text: str) -> int | str:
    return UNLIMITED if text.strip().lower() == UNLIMITED else size_option(text)


def _files_option(text: str) -> int | str:
    plain = text.strip().lower()
    if plain == UNLIMITED:
        return UNLIMITED
    if not (plain.isascii() and plain.isdigit()):
        raise typer.BadParameter(f"{text}: give a number, or {UNLIMITED}")
    return int(plain)


@app.callback()
def command(
    context: typer.Context,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    of_app: Annotated[
        str | None, typer.Option("--app", metavar="APP", help="Only of this app.")
    ] = None,
    apps: Annotated[bool, typer.Option("--apps", help="Each app instead of each owner.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most lines.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Every line, without a limit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per owner, or app, and line.")
    ] = False,
) -> None:
    """Say who has how much, of how much; with a command set quotas: set, unset.

    Those with the most bytes come first. Files count once, whatever their copies; what open
    uploads may still bring counts too, and is `promised`.
    """
    if context.invoked_subcommand is not None:
        return
    named = {"owner": owner, "app": of_app, "of": "apps" if apps else "owners"}
    query = {key: value for key, value in named.items() if value is not None}
    views, more = _pages(query, None if everything else limit)
    if as_json:
        for view in views:
            typer.echo(view.model_dump_json())
    else:
        print_table(_HEADERS, [_row(view) for view in views])
    if more:
        say("there are more: --limit shows them, --all every one")


def _pages(query: dict[str, str], limit: int | None) -> tuple[list[UsageView], bool]:
    """Lines, and whether there are more."""
    found: list[UsageView] = []
    cursor: str | None = None
    with control_plane() as control:
        while True:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            at = {} if cursor is None else {"cursor": cursor}
            page = control.usage({**query, "limit": str(size), **at})
            found += page.usage
            cursor = page.next
            if cursor is None or not page.usage or (limit is not None and len(found) >= limit):
                return found, cursor is not None


@app.command("set")
def set_quota(
    owner: _Owner = None,
    of_app: _App = None,
    bytes_: Annotated[
        object,
        typer.Option(
            "--bytes",
            parser=_bytes_option,
            metavar="SIZE",
            help=f"The most bytes, as 10GiB, or {UNLIMITED}.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        object,
        typer.Option(
            parser=_files_option,
            metavar="NUMBER",
            help=f"The most files, or {UNLIMITED}.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what an owner, or an app, may have: at once, and whatever the cluster file says.

    What isn't given is as the cluster file has it. An API key with the scope admin is needed.
    """
    kind, name = _meant(owner, of_app)
    given = {"bytes": bytes_, "files": files}
    said = {
        key: None if value == UNLIMITED else value
        for key, value in given.items()
        if value is not None
    }
    if not said:
        raise typer.BadParameter("say what to set, as --bytes 10GiB", param_hint="--bytes")
    with control_plane() as control:
        _tell(control.set_quota(kind, name, QuotaWish.model_validate(said)), as_json)


@app.command("unset")
def unset_quota(
    owner: _Owner = None,
    of_app: _App = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Let an owner, or an app, have what the cluster file says again."""
    kind, name = _meant(owner, of_app)
    with control_plane() as control:
        _tell(control.unset_quota(kind, name), as_json)


def _meant(owner: str | None, of_app: str | None) -> tuple[Literal["owner", "app"], str]:
    if owner is not None and of_app is None:
        return "owner", owner
    if of_app is not None and owner is None:
        return "app", of_app
    raise typer.BadParameter("name an owner, or an app with --app", param_hint="[OWNER]")


def _tell(quota: QuotaInForce, as_json: bool) -> None:
    if as_json:
        typer.echo(quota.model_dump_json())
        return
    size = UNLIMITED if quota.bytes is None else format_size(quota.bytes)
    count = UNLIMITED if quota.files is None else str(quota.files)
    say(f"{quota.kind} {quota.name}: bytes {size}, files {count}")


def _row(view: UsageView) -> tuple[str, ...]:
    cells = (
        view.app_id or "-",
        view.owner or "-",
        *_cells(view.bytes, format_size),
        *_cells(view.files, str),
        format_size(view.bytes.promised),
    )
    return tuple(printable(cell) for cell in cells)


def _cells(share: CountedShare, shown: Callable[[int], str]) -> tuple[str, str, str]:
    limit = "-" if share.limit is None else shown(share.limit)
    left = "-" if share.left is None else shown(share.left)
    return shown(share.used), limit, left
