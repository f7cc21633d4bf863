"""How a node leaves: let go for good, then Portside taken off the machine, or only its programs.

What each component has put there it lists itself (`REMOVAL` in its module). What holds files or a
database is data: it stays unless its operator says otherwise, and then only what is Portside's own
goes. Packages stay: others may use them by now.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys import layout
from deploys.components import (
    acme,
    agent,
    clamav,
    control,
    control_database,
    control_replica,
    monitoring,
    nginx_sandbox,
    roster,
)
from deploys.components.machine import base, disk, firewall, hardening, ssh, tuning
from deploys.components.machine.banners import banners
from deploys.components.nginx import FILE as NGINX_CONF
from deploys.components.nginx import RELOAD, configuration
from deploys.hosts.leftovers import Leftovers
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from deploys.operations.removal import Removal, taken_away
from deploys.operations.services import Level, converged

_SERVICES = f"{layout.AGENT_SERVICE} {layout.WORKER_SERVICE}"

_LAST = Removal(
    units=("portside-revert.service",),
    # By which a node without a control plane is known to have been let go.
    files=(layout.RETIRED,),
    trees=(layout.STATE,),
    folders=(layout.PROGRAM, layout.SETTINGS, "/usr/local/libexec"),
    machine=True,
)
"""The deploy's own, by which an uninstall that broke off is known: it goes last."""

REMOVALS: tuple[tuple[str, Removal], ...] = (
    # What would start the agent again goes before it.
    ("What watches the disk", disk.REMOVAL),
    ("Agent", agent.REMOVAL),
    ("Control plane", control.REMOVAL),
    ("Backups", control_database.REMOVAL),
    ("Replica", control_replica.REMOVAL),
    ("Monitoring", monitoring.REMOVAL),
    ("Renewal of the certificate", acme.REMOVAL),
    ("ClamAV's part", clamav.REMOVAL),
    ("nginx's sandbox", nginx_sandbox.REMOVAL),
    ("Account at the authority", acme.ACCOUNT),
    ("Keys and roster", roster.REMOVAL),
    ("Kernel settings", tuning.REMOVAL),
    ("Hardening", hardening.REMOVAL),
    ("SSH settings", ssh.REMOVAL),
    # The node answers to nobody by now: nothing is open that was closed.
    ("Firewall", firewall.REMOVAL),
    ("Users", base.USERS),
    ("The deploy's own", _LAST),
)

STOPPED = REMOVALS[:5]
"""What reads and writes data: it goes before that does."""

CONTROL_DATA = Removal(trees=(layout.CONTROL_HOME, layout.CONTROL_BACKUPS))

_IS_OURS = f"grep -q '^# Written by Portside' {NGINX_CONF} 2>/dev/null"

_DEBIANS_NGINX = f"""\
set -e
# Only ours: a run that was killed may have left Debian's there by now.
if {_IS_OURS}; then mv -fT {NGINX_CONF} {NGINX_CONF}.portside; fi
if ! DEBIAN_FRONTEND=noninteractive apt-get install --reinstall --yes --quiet \\
    -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confmiss nginx-common; then
    mv -fT {NGINX_CONF}.portside {NGINX_CONF}
    echo "Debian's nginx.conf can't be had from its mirror" >&2
    exit 1
fi
rm {NGINX_CONF}.portside
"""
_OFF = "systemctl disable --quiet --now nginx.service\n"
_RELOADED = "nginx -t -q && systemctl try-reload-or-restart nginx.service\n"


@deploy("Retire")
def retired(node: Node) -> None:
    """Nothing of the node's is served and nothing comes in; its data stays as it is.

    That it was let go it says itself only later (operate/leaving/mark.py): once it was looked at
    again in this state.
    """
    converged(
        name="Agent and worker are stopped",
        service="retired",
        holds=" && ".join(
            f"! systemctl is-{how} --quiet {each}"
            for each in _SERVICES.split()
            for how in ("active", "enabled")
        ),
        # Uploads under way end before; the worker has nothing to do by then.
        otherwise=f"systemctl disable --quiet --now {_SERVICES}",
    )
    others = tuple(role for role in node.roles if role != "storage")
    files_in_place(
        name="nginx serves none of its files",
        files=[File(NGINX_CONF, configuration(node, roles=others), check="nginx -t -q -c {}")],
    )
    converged(
        name="nginx has heard of it",
        service="nginx",
        levels=[
            Level(
                (NGINX_CONF,),
                RELOAD,
            )
        ],
    )


def must_be_apart(root: str) -> None:
    """Raise PyinfraError for data in a folder that is removed with whatever is in it."""
    below = [each for each in _trees() if PurePosixPath(root).is_relative_to(each)]
    if below:
        raise PyinfraError(
            f"uploads.root is {root}, in {below[0]}, which is Portside's own and would be removed "
            "with all that is in it: nothing was. Move the data to another folder first, and say "
            "so in the cluster file"
        )


@deploy("Uninstall")
def uninstalled(node_id: str, root: str, *, keep_nginx: bool, data_too: bool) -> None:
    """Everything of Portside's but its data, and with `data_too` that too.

    `root` is the folder of the data, `keep_nginx` whether nginx has sites of the operator's.
    """
    must_be_apart(root)
    for name, removal in STOPPED:
        taken_away(name=f"{name} is gone", removal=removal)
    debians_nginx(name="nginx as Debian has it", keep=keep_nginx)
    if data_too:
        data_gone(name="The data is gone", root=root, node_id=node_id)
        taken_away(name="The control plane's data is gone", removal=CONTROL_DATA)
    banners(own=False)
    for name, removal in REMOVALS[len(STOPPED) :]:
        taken_away(name=f"{name} is gone", removal=removal)
    host.log(f"packages stay: {', '.join(sorted(base.PACKAGES))}")
    host.log(
        f"a database of PostgreSQL's stays, where there is one: `dropdb {control_database.NAME}`, "
        f"then `dropuser {layout.CONTROL_USER}`, as postgres remove it"
    )
    if not data_too:
        host.log(f"data stays: {root}, {layout.CONTROL_HOME}, {layout.CONTROL_BACKUPS}")


@deploy("Take off")
def programs_gone() -> None:
    """Programs and their settings, for a deploy that brings them anew: keys, data, users, nginx and
    what the machine keeps to stay, so that downloads go on."""
    for name, removal in REMOVALS:
        if not removal.machine:
            taken_away(name=f"{name} is gone", removal=removal, keep_identity=True)
    # A service that is deployed anew is compared with nothing.
    taken_away(
        name="What was deployed is forgotten",
        removal=Removal(
            files=(layout.RETIRED, *(f"{layout.STATE}/{each}.stamp" for each in _STAMPS))
        ),
    )


_STAMPS = (
    *("agent", "worker", "control", "control-worker", "control-backup", "control-replica"),
    *("certificate", "disk", "retired", "nginx"),
)


def _trees() -> tuple[str, ...]:
    """All folders that are removed with whatever is in them."""
    every = (*(removal for _, removal in REMOVALS), CONTROL_DATA)
    return tuple(tree for each in every for tree in each.trees)


@operation()
def debians_nginx(keep: bool) -> Generator[str]:
    """Debian's nginx.conf in place of ours; nginx is stopped, unless it serves others' sites.

    + keep: whether it does
    """
    if not host.get_fact(OurNginx, file=NGINX_CONF):
        return
    yield _DEBIANS_NGINX + (_RELOADED if keep else _OFF)


class OurNginx(Leftovers):
    """The path of nginx.conf, if it is ours."""

    def command(self, file: str) -> str:  # type: ignore[override]
        return f"if {_IS_OURS} || [ -e {file}.portside ]; then echo left {file}; fi"


@operation()
def data_gone(root: str, node_id: str) -> Generator[str]:
    """All that the agent has written to the folder of its data, and nothing else that is there.

    + root: the folder
    + node_id: whose data it has to be, as its marker says
    """
    own = tuple(f"{root}/{each}" for each in ("staging", "quarantine", "ended", "state"))
    marker = f"{root}/{layout.MARKER}"
    if not host.get_fact(Leftovers, paths=(*own, f"{root}/uploads", marker)):
        return
    yield f"""\
set -e
if [ "$(cat {marker} 2>/dev/null)" != {node_id} ]; then
    echo "{root} doesn't say that it holds the files of {node_id}: nothing is removed" >&2
    exit 1
fi
# A file of ours has its attributes beside it; what else lies there is somebody else's.
if [ -d {root}/uploads ]; then
    find {root}/uploads -xdev -type f -name '*.attr.json' -exec sh -c \\
        'for each; do rm -f -- "${{each%.attr.json}}" "$each"; done' sh {{}} +
    find {root}/uploads -xdev -depth -type d -empty -delete
fi
rm -rf --one-file-system {" ".join(own)}
# Last: what was begun is finished by the next run.
rm -f {marker}
[ -z "$(ls -A {root})" ] || echo "left in {root}, for it isn't Portside's: $(ls -A {root})"
mountpoint -q {root} || rmdir --ignore-fail-on-non-empty {root}"""
