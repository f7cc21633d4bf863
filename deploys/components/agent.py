"""The agent: its release, its settings, its two services."""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import File, files_in_place
from deploys.operations.releases import (
    KEPT_RELEASES,
    Home,
    built_release,
    command_on_path,
    old_releases_removed,
    release_current,
    release_installed,
)
from deploys.operations.reloading import reload_or_start, runs, unit_file
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from deploys.wheelhouse import AGENT
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

_LAST_WORDS = f"journalctl --no-pager --lines 5 --unit {layout.AGENT_SERVICE}"

_READY = render("gunicorn/ready.py.j2", socket=layout.AGENT_SOCKET, service=layout.AGENT_SERVICE)


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
    files_in_place(
        name="Settings",
        files=[File(layout.AGENT_TOML, agent_settings(node), private, 0o640, check=_CHECK)],
    )
    files_in_place(
        name="Command on the PATH",
        files=[command_on_path(programs.AGENT, "PORTSIDE_AGENT_CONFIG", layout.AGENT_TOML)],
    )
    files_in_place(
        name="Units",
        files=[
            File(f"{layout.UNITS}/{name}", text, check="systemd-analyze verify {}")
            for name, text in units(node).items()
        ],
    )
    services(node)


def services(node: StorageNode) -> None:
    """Both services, on the files that are there."""
    converged(
        name="Agent runs and is ready",
        service="agent",
        levels=[
            # A restart waits for running uploads, and takes no new ones meanwhile: only for what a
            # running master can't change.
            Level((layout.MASTER, unit_file(layout.AGENT_SERVICE)), _restart(layout.AGENT_SERVICE)),
            # For a new release or new settings the old worker finishes its uploads, while a new one
            # takes the next on the same socket.
            Level(
                (
                    *(layout.CURRENT, layout.AGENT_TOML, layout.GUNICORN_CONF, layout.KEYSET),
                    layout.CA_CERTIFICATE,
                ),
                reload_or_start(layout.AGENT_SERVICE, _LAST_WORDS) + _wait_until_ready(),
            ),
        ],
        holds=f"{runs(layout.AGENT_SERVICE)} && "
        f"[ \"$(stat -c '%U %a' {layout.NODE_KEY})\" = '{layout.SERVICE_USER} 600' ]",
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
        name: render(f"systemd/{name}.j2", node=node, layout=layout, writable=node.root)
        for name in (layout.AGENT_SERVICE, layout.WORKER_SERVICE)
    }


def cold_credentials(node: Node) -> str:
    """The access key of the cold tier's bucket. Raises PyinfraError without a usable one."""
    try:
        return Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).cold_credentials()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None


def keyset(node: Node) -> str:
    """The public keys of the issuers, for keyset.json. Raises PyinfraError without any."""
    try:
        found = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).keyset()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    return found.model_dump_json(indent=2, exclude_none=True) + "\n"


def _restart(service: str) -> str:
    identity = _IDENTITY.replace("{}", layout.AGENT_TOML)
    return (
        f"{identity}; systemctl daemon-reload; systemctl enable --quiet {service}; "
        f"systemctl restart {service}; {_wait_until_ready()}"
    )


def _wait_until_ready() -> str:
    return f"{layout.CURRENT}/venv/bin/python -I -c {shlex.quote(_READY)}"
