"""The agent: its release, its settings, its two services."""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components.keys import keyset
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import (
    File,
    directories_in_place,
    files_in_place,
    mode_in_place,
)
from deploys.operations.releases import (
    KEPT_RELEASES,
    Home,
    built_release,
    command_on_path,
    old_releases_removed,
    release_current,
    release_installed,
)
from deploys.operations.reloading import (
    next_generation,
    one_beyond,
    runs,
    serving_directories,
    serving_files,
    unit_file,
    unit_taken_over,
)
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from deploys.wheelhouse import AGENT
from portside import sizing
from portside.operator import programs
from portside.operator.keystore import Keystore, KeystoreError

HOME = Home(AGENT, layout.RELEASES, layout.CURRENT, loads="agent.app, agent.commands.cli")
"""Where the agent lives on a node."""

# The check of an agent.toml, as the user who will read it. The node's key is part of what is
# checked, so it is made first if this is a new node; it never leaves the node.
_IDENTITY = (
    f"{layout.AGENT_COMMAND} identity --create --config {{}} >/dev/null && "
    f"chown {layout.SERVICE_USER}:{layout.SERVICE_USER} {layout.NODE_KEY}"
)
_CHECK = (
    f"{_IDENTITY} && runuser -u {layout.SERVICE_USER} -- "
    f"{layout.AGENT_COMMAND} check --config {{}} >/dev/null"
)

_READY = render("gunicorn/ready.py.j2", socket=layout.AGENT_SOCKET, service=layout.AGENT_SERVICE)


REMOVAL = Removal(
    units=(layout.AGENT_SERVICE, layout.WORKER_SERVICE),
    files=(
        *(layout.AGENT_TOML, layout.GUNICORN_CONF, layout.COLD_CREDENTIALS),
        *(layout.CURRENT, programs.AGENT.on_path),
    ),
    trees=(layout.RELEASES, layout.BEFORE, layout.SERVE_LIBRARY),
    identity=(layout.NODE_KEY, layout.NEXT_NODE_KEY),
)
"""What it has put on a machine; its data is `deploys.components.uninstalled`'s."""


@deploy("Agent")
def agent_release(node: StorageNode) -> None:
    """The release beside those that are there: nothing that runs is touched."""
    release_installed(name="Release", release=built_release(HOME, node), home=HOME)


@deploy("Agent")
def agent(node: StorageNode) -> None:
    """The release that runs, keys, settings, units; then both services brought to that state."""
    release, trusted = built_release(HOME, node), keyset(node)
    release_current(name="Release is the current one", release=release, home=HOME)
    private = f"root:{layout.SERVICE_USER}"
    files_in_place(
        name="Keys of the issuers, gunicorn's settings",
        files=[
            File(layout.KEYSET, trusted, private, 0o640),
            File(layout.GUNICORN_CONF, gunicorn_settings(node), private, 0o640),
        ],
    )
    if node.cluster.cold is not None:
        owner = f"{layout.SERVICE_USER}:{layout.SERVICE_USER}"
        files_in_place(
            name="Access key of the cold tier",
            files=[File(layout.COLD_CREDENTIALS, cold_credentials(node), owner, 0o600)],
        )
    # Made on the node, and read by a running agent already: nothing has to start anew for it.
    mode_in_place(
        name="The node's key is the agent's alone",
        path=layout.NODE_KEY,
        owner=f"{layout.SERVICE_USER}:{layout.SERVICE_USER}",
        mode=0o600,
    )
    files_in_place(
        name="Settings",
        files=[File(layout.AGENT_TOML, agent_settings(node), private, 0o640, check=_CHECK)],
    )
    files_in_place(
        name="Command on the PATH",
        files=[command_on_path(programs.AGENT, "PORTSIDE_AGENT_CONFIG", layout.AGENT_TOML)],
    )
    directories_in_place(name="Folders of what serves it", directories=serving_directories())
    files_in_place(name="What serves it", files=serving_files())
    files_in_place(
        name="Units",
        files=[
            File(f"{layout.UNITS}/{name}", text, check="systemd-analyze verify {}")
            for name, text in units(node).items()
        ],
    )
    services(node)


def services(node: StorageNode, back: bool = False) -> None:
    """Both services, on the files that are there; `back`: from what doesn't do its work, so that
    nothing is waited for.
    """
    at_once = one_beyond(layout.AGENT_SOCKET, layout.SERVICE_USER) if back else ""
    converged(
        name="Agent runs and is ready",
        service="agent",
        levels=[
            # Either way the old process goes on until a new one serves, then finishes its uploads.
            Level(
                (unit_file(layout.AGENT_SERVICE), *(each.path for each in serving_files())),
                f"{_identity()}\n{at_once}"
                f"{unit_taken_over(layout.AGENT_SERVICE, layout.AGENT_SOCKET)}"
                f"{_wait_until_ready()}",
            ),
            Level(
                (
                    # Keys aren't among them: the agent follows their files.
                    *(layout.CURRENT, layout.AGENT_TOML, layout.GUNICORN_CONF),
                    layout.CA_CERTIFICATE,
                ),
                f"{at_once}{next_generation(layout.AGENT_SERVICE, layout.AGENT_SOCKET)}"
                f"{_wait_until_ready()}",
            ),
        ],
        holds=runs(layout.AGENT_SERVICE),
    )
    converged(
        name="Worker runs",
        service="worker",
        levels=[
            Level(
                (
                    *(layout.CURRENT, unit_file(layout.WORKER_SERVICE), layout.AGENT_TOML),
                    *(layout.CA_CERTIFICATE, layout.COLD_CREDENTIALS),
                ),
                f"systemctl daemon-reload; systemctl enable --quiet {layout.WORKER_SERVICE}; "
                f"systemctl restart {layout.WORKER_SERVICE}",
            )
        ],
        holds=runs(layout.WORKER_SERVICE),
    )


@deploy("Agent")
def old_releases() -> None:
    """Only those stay that can be gone back to."""
    old_releases_removed(name="Old releases are gone", home=HOME, keep=KEPT_RELEASES)


def agent_settings(node: StorageNode) -> str:
    """agent.toml."""
    return render("agent/agent.toml.j2", node=node, layout=layout)


def gunicorn_settings(node: StorageNode) -> str:
    """gunicorn.conf.py."""
    return render("gunicorn/gunicorn.conf.py.j2", node=node, layout=layout)


def units(node: StorageNode) -> dict[str, str]:
    """The text of both units by name."""
    return {
        name: render(
            f"systemd/{name}.j2",
            node=node,
            layout=layout,
            writable=node.root,
            generations=sizing.generations(node.sizing),
        )
        for name in (layout.AGENT_SERVICE, layout.WORKER_SERVICE)
    }


def cold_credentials(node: Node) -> str:
    """The access key of the cold tier's bucket. Raises PyinfraError without a usable one."""
    try:
        return Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).cold_credentials()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None


def _identity() -> str:
    return _IDENTITY.replace("{}", layout.AGENT_TOML)


def _wait_until_ready() -> str:
    return f"{layout.CURRENT}/venv/bin/python -I -c {shlex.quote(_READY)}"
