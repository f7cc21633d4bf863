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

from operate import adding, locks, states
from operate.backup import backing_up, restoring
from operate.deploying import INTERRUPTED
from operate.files import adopting, exporting
from operate.leaving import retiring, taking_off
from operate.running import releases as of_nodes
from operate.running import reloading, restarting, rotating
from operate.seeing import doctor as examining
from operate.seeing import logs as reading_logs
from operate.seeing import status as looking
from operate.seeing import verifying
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

        # One letter would be --dry of one task and --data-too of another.
        return fabric.task(name=name, help=help_of, auto_shortflags=False)(run)  # type: ignore[no-any-return]

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


@_task(json=_JSON)
def doctor(context: Context, json: bool = False) -> None:
    """Look for what is wrong: names, ports, clocks, disks, keys, sizes; and say what to do."""
    site = _site()
    _ended(examining.doctor(site, _nodes(context, site), Tell(json)))


@_task("nodes that were not named yet are as they were; run it again", dry=_DRY, json=_JSON)
def reload(context: Context, dry: bool = False, json: bool = False) -> None:
    """Have services and nginx read their settings again; running uploads go on."""
    site = _site()
    _ended(reloading.reload(site, _nodes(context, site), Tell(json), dry))


@_task(
    "the service that was named last may be restarting; the others are as they were",
    only="this unit alone, as portside-agent-worker",
    dry=_DRY,
    json=_JSON,
)
def restart(context: Context, only: str = "", dry: bool = False, json: bool = False) -> None:
    """Start services anew, one node after the other, each ready before the next."""
    site = _site()
    restarting.restart(site, _nodes(context, site), Tell(json), only, dry)


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


@_task(json=_JSON)
def releases(context: Context, json: bool = False) -> None:
    """Which releases each node has, which runs, and which can be gone back to."""
    site = _site()
    _ended(of_nodes.releases(site, _nodes(context, site), Tell(json)))


@_task(
    "nodes that were not proven yet go on with the next run: `fab rollback`",
    to="the release to go back to, as `fab releases` lists it; without it the last that worked",
    dry=_DRY,
    json=_JSON,
)
def rollback(context: Context, to: str = "", dry: bool = False, json: bool = False) -> None:
    """Take storage nodes back to the release that they ran before, each proven by an upload."""
    site = _site()
    of_nodes.rollback(site, _nodes(context, site), Tell(json), to, dry)


@_task(
    why="what for: others read it when they are refused",
    release="open the nodes again",
    force="also those that somebody else closed",
    dry=_DRY,
    json=_JSON,
)
def lock(
    context: Context,
    why: str = "",
    release: bool = False,
    force: bool = False,
    dry: bool = False,
    json: bool = False,
) -> None:
    """Close nodes for everybody else's deploys and verbs (--why), open them, or say who did."""
    site, tell = _site(), Tell(json)
    node_ids = _nodes(context, site)
    if release:
        _ended(locks.reopen(site, node_ids, tell, force, dry))
    elif why:
        _ended(locks.close(site, node_ids, why, tell, dry))
    else:
        _ended(locks.show(site, node_ids, tell))


@_task(lines="how many entries (default 50)", days="how far back (default 90)", json=_JSON)
def audit(context: Context, lines: int = 50, days: int = 90, json: bool = False) -> None:
    """Who changed what and when: deploys and verbs, from each node's own append-only log."""
    site = _site()
    _ended(locks.audit(site, _nodes(context, site), Tell(json), lines, days))


@_task(
    "what was provisioned stays; the same command goes on from there",
    node=_NODE,
    dry=_DRY,
    json=_JSON,
)
def add_node(context: Context, node: str, dry: bool = False, json: bool = False) -> None:
    """Make a bare machine a node: check, provision, prove by an upload, activate."""
    adding.add_node(_site(), node, Tell(json), dry)


@_task(
    "every file is as it was or adopted; the same command goes on",
    node=_NODE,
    folder="the folder's whole path on the node; what lies below it is adopted",
    namespace="first folder of the files' paths",
    owner="whose files they will be",
    app="the app whose files they will be",
    layout="dated: names never clash; named: a file is at NAMESPACE/NAME",
    way="move, copy or link; without it move on the node's own filesystem and copy from others",
    rate="bytes read in a second, as 200MiB; without it as fast as files are scrubbed",
    valid="how long the order counts (default 1d)",
    dry=_DRY,
    json=_JSON,
)
def adopt(
    context: Context,
    node: str,
    folder: str = "",
    namespace: str = "",
    owner: str = "",
    app: str = "",
    layout: str = "dated",
    way: str = "",
    rate: str = "",
    valid: str = "1d",
    dry: bool = False,
    json: bool = False,
) -> None:
    """Make files that lie on a node's disks stored ones: digests, attributes, copies."""
    wanted = adopting.Wanted(folder, namespace, owner, app, layout, way, rate, valid)
    _ended(adopting.adopt(_site(), node, wanted, Tell(json), dry))


@_task(
    "what was fetched stays; the same command goes on",
    folder="where to, on this computer",
    namespace="only of this namespace",
    owner="only of this owner",
    parallel="files at a time (default 4)",
    dry="write manifest.jsonl and SHA256SUMS, and fetch nothing",
    json=_JSON,
)
def export(
    context: Context,
    folder: str,
    namespace: str = "",
    owner: str = "",
    parallel: int = 4,
    dry: bool = False,
    json: bool = False,
) -> None:
    """Bring every file of the cluster to a folder here, verified, with a list of them."""
    _ended(exporting.export(_site(), folder, Tell(json), namespace, owner, parallel, dry))


@_task("a small file of its own may be left on a node, and goes by itself", json=_JSON)
def verify(context: Context, json: bool = False) -> None:
    """Run the project's own tests of a deployed node against this cluster."""
    site = _site()
    _ended(verifying.verify(site, _nodes(context, site), Tell(json)))


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
