"""Every day after the first: `fab --list`, `fab status`, `fab -H s01 logs`, `fab drain s01`.

Hosts come from the cluster file, as in pyinfra's inventory. Without `-H` a task that looks at nodes
takes all of them; `-H s01,s02` picks. What each task does is in `operate/`, a module for each.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fabric
import fabric.main
from invoke.context import Context

from operate import logs as reading_logs
from operate import reloading, rotating, states
from operate import status as looking
from operate.deploying import INTERRUPTED
from operate.leaving import retiring, taking_off
from operate.site import MISTAKES, Site
from operate.tell import Tell

_ROOT = Path(__file__).resolve().parent

_JSON = "one JSON object on stdout; what people read goes to stderr"
_DRY = "say what would be done, and do nothing"
_NODE = "the node's id, as s01"

_Task = TypeVar("_Task", bound=Callable[..., None])


def _task(interrupted: str = "nothing was changed", **help_of: str) -> Callable[[_Task], _Task]:
    """A task whose mistakes are a line for people each, and which is safe to interrupt.

    `interrupted` says what Ctrl-C leaves, and how to go on.
    """

    def made(body: _Task) -> _Task:
        name = body.__name__.strip("_").replace("_", "-")

        @functools.wraps(body)
        def run(context: Context, *arguments: Any, **options: Any) -> None:
            if {"--help", "-h"} & {each for each in options.values() if isinstance(each, str)}:
                # Where a node's id is to come, Invoke takes whatever comes.
                fabric.main.program.print_task_help(name)
                return
            try:
                body(context, *arguments, **options)
            except KeyboardInterrupt:
                print(f"interrupted: {interrupted}", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except MISTAKES as error:
                sys.exit(str(error))

        return fabric.task(name=name, help=help_of)(run)  # type: ignore[no-any-return]

    return made


def _site() -> Site:
    return Site.at(_ROOT)


def _nodes(context: Context, site: Site) -> tuple[str, ...]:
    """Those of `-H`, one at a time as Fabric has it, or all."""
    return site.named([context.host] if isinstance(context, fabric.Connection) else [])


def _ended(well: bool) -> None:
    if not well:
        sys.exit(1)


@_task(json=_JSON)
def status(context: Context, json: bool = False) -> None:
    """How every node is: release, services, disk, certificate, heartbeat, lag, copies that lack."""
    site = _site()
    _ended(looking.status(site, _nodes(context, site), Tell(json)))


@_task(
    lines="how many lines of each log (default 50)",
    since="how far back, in journalctl's words: '1 hour ago'",
    grep="only lines that fit this extended regular expression",
    follow="go on with what comes, until Ctrl-C",
    json="an object for each node, or with --follow for each line",
)
def logs(
    context: Context,
    lines: int = 50,
    since: str = "",
    grep: str = "",
    follow: bool = False,
    json: bool = False,
) -> None:
    """What each node's services and nginx said last."""
    site = _site()
    wanted = reading_logs.Wanted(lines, since, grep, follow)
    _ended(reading_logs.logs(site, _nodes(context, site), wanted, Tell(json)))


@_task("nodes that were not named yet are as they were; run it again", dry=_DRY, json=_JSON)
def reload(context: Context, dry: bool = False, json: bool = False) -> None:
    """Have services and nginx read their settings again; running uploads go on."""
    site = _site()
    _ended(reloading.reload(site, _nodes(context, site), Tell(json), dry))


@_task(
    "the drain goes on; `fab drain NODE --watch` shows how far it is, `fab undrain NODE` ends it",
    node=_NODE,
    watch="say how it goes until nothing is left",
    dry=_DRY,
    json=_JSON,
)
def drain(
    context: Context, node: str, watch: bool = False, dry: bool = False, json: bool = False
) -> None:
    """Give a node no new files and copy what it has to others; again: say how far that is."""
    states.drain(_site(), node, Tell(json), watch, dry)


@_task(node=_NODE, dry=_DRY, json=_JSON)
def undrain(context: Context, node: str, dry: bool = False, json: bool = False) -> None:
    """Take a node that drains, or is only read, back into use."""
    states.undrain(_site(), node, Tell(json), dry)


@_task(
    "what was done is kept, and no data is removed; the same command goes on from there",
    node=_NODE,
    lost="its machine or disk doesn't come back: it isn't asked, and what only it had is given up",
    yes_i_lose="with --lost, instead of being asked: how many files are given up",
    dry=_DRY,
    json=_JSON,
)
def retire(
    context: Context,
    node: str,
    lost: bool = False,
    yes_i_lose: str = "",
    dry: bool = False,
    json: bool = False,
) -> None:
    """Let a node go for good, if nothing on it is nowhere else; its data stays on it."""
    site, tell = _site(), Tell(json)
    if lost:
        _ended(retiring.retire_lost(site, node, tell, yes_i_lose, dry))
    else:
        _ended(retiring.retire(site, node, tell, dry))


@_task(
    "what is gone is gone, the rest is as it was; the same command goes on from there",
    node=_NODE,
    data_too="also what Portside has stored there; never what somebody else put there",
    lost="although the node isn't retired: files there may be nowhere else",
    dry=_DRY,
    json=_JSON,
)
def uninstall(
    context: Context,
    node: str,
    data_too: bool = False,
    lost: bool = False,
    dry: bool = False,
    json: bool = False,
) -> None:
    """Take Portside off the machine of a retired node; its data and Debian's packages stay."""
    taking_off.uninstall(_site(), node, Tell(json), data_too, lost, dry)


@_task(
    "its data is untouched; until the same command has gone on the node may take no uploads",
    node=_NODE,
    new_machine="its system was installed anew: it may show other keys",
    dry=_DRY,
    json=_JSON,
)
def reinstall(
    context: Context, node: str, new_machine: bool = False, dry: bool = False, json: bool = False
) -> None:
    """Make a node's programs and settings anew, on the data and keys that it has."""
    taking_off.reinstall(_site(), node, Tell(json), new_machine, dry)


@_task(
    "what was reached is kept; the same command goes on from there",
    what="issuer, nodes, operator, or all",
    finish="only let go of private keys that have ended",
    dry=_DRY,
    json=_JSON,
)
def rotate_keys(
    context: Context,
    what: str = "all",
    finish: bool = False,
    dry: bool = False,
    json: bool = False,
) -> None:
    """Replace keys while everything goes on; what broke off is finished by the next run."""
    rotating.rotate_keys(_site(), what, Tell(json), finish, dry)
