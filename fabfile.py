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

from operate import backing_up, reloading, restoring, rotating, states
from operate import logs as reading_logs
from operate import status as looking
from operate.deploying import INTERRUPTED
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


@_task(node=_NODE, dry=_DRY, json=_JSON)
def retire(context: Context, node: str, dry: bool = False, json: bool = False) -> None:
    """Let a drained node go for good; then its line in the cluster file can go too."""
    states.retire(_site(), node, Tell(json), dry)


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


@_task(
    "backups that were there are as they were; nothing half is left under a backup's name",
    to="a folder (default backups/CLUSTER), ssh://user@host/folder, a node's id, or bucket",
    secrets="take the operator's secrets along, sealed with a passphrase",
    passphrase_file="a file whose first line is the passphrase (default: ask for it)",  # noqa: S106
    list_="show the backups that are there, and make none",
    verify="read all of this backup and compare its digests, and make none",
    dry=_DRY,
    json=_JSON,
)
def backup(
    context: Context,
    to: str = "",
    secrets: bool = False,
    passphrase_file: str = "",
    list_: bool = False,
    verify: str = "",
    dry: bool = False,
    json: bool = False,
) -> None:
    """Back up the control plane, in one file that lies on another machine than its own."""
    site, tell = _site(), Tell(json)
    if list_:
        backing_up.listed(site, to or None, tell)
    elif verify:
        backing_up.verify(site, verify, tell)
    else:
        backing_up.backup(
            site,
            to or None,
            tell,
            with_secrets=secrets,
            passphrase_file=passphrase_file or None,
            dry=dry,
        )


@_task(
    "what the control node had begun goes on there; the same command waits for it, and goes on",
    backup="a file, a name in backups/CLUSTER, PLACE/NAME, latest; or from-nodes: without any",
    drill="put it into a database beside the one that is used, say how that went, remove it",
    secrets="bring the operator's secrets back first, where there are none",
    passphrase_file="a file whose first line is their passphrase (default: ask for it)",  # noqa: S106
    again="although this very backup was restored already",
    dry=_DRY,
    json=_JSON,
)
def restore(
    context: Context,
    backup: str,
    drill: bool = False,
    secrets: bool = False,
    passphrase_file: str = "",
    again: bool = False,
    dry: bool = False,
    json: bool = False,
) -> None:
    """Bring the control plane back from a backup, on a bare machine too; --drill only tries it."""
    site, tell = _site(), Tell(json)
    if backup == "from-nodes":
        restoring.from_nodes(site, tell, dry)
        return
    wishes = restoring.Wishes(drill, again, secrets, passphrase_file or None, dry)
    restoring.restore(site, backup, wishes, tell)
