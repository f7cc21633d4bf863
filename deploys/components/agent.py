"""The agent: its release, its settings, its two services."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Generator

from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys import layout
from deploys.components import facts
from deploys.components.node import StorageNode
from deploys.components.operations import File, Level, converged, files_in_place
from deploys.components.reloading import reload_or_start
from deploys.components.rendering import render
from deploys.release import Release, ReleaseError, build
from portside.keystore import Keystore, KeystoreError

KEPT_RELEASES = 3
"""The one that runs, and two to go back to."""

_one_build = threading.Lock()

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

_READY = render("agent/ready.py.j2", socket=layout.AGENT_SOCKET)


@operation()
def release_installed(release: Release) -> Generator[StringCommand | FileUploadCommand]:
    """The release in a virtual environment of its own, `current` pointing to it.

    A release counts only with its `.complete`, written last: what a killed run left is built anew.

    + release: the wheelhouse on the operator's machine
    """
    state = host.get_fact(facts.Releases, releases=layout.RELEASES, current=layout.CURRENT)
    directory = f"{layout.RELEASES}/{release.digest}"
    archive = f"{layout.RELEASES}/.{release.digest}.tar"
    if release.digest not in state.complete:
        yield StringCommand(f"rm -rf {directory} && install -d -m 0755 {directory}")
        yield FileUploadCommand(
            str(release.archive),
            archive,
            remote_temp_filename=f"{layout.PRIVATE_UPLOADS}/{release.digest}.tar",
        )
        yield StringCommand(
            "set -e; umask 022; export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1; "
            f"cd {directory}; tar -x --no-same-owner -f {archive}; python3 -m venv venv; "
            "venv/bin/pip install -q --no-index --find-links wheels --require-hashes "
            "-r requirements.txt; "
            "venv/bin/pip install -q --no-index --no-deps wheels/portside-*.whl; "
            # A release that can't even be loaded must never become the current one.
            "venv/bin/python -I -c 'import agent.app, agent.cli'; "
            "{ venv/bin/python --version; grep '^gunicorn==' requirements.txt; } > master; "
            # Archives of runs that were killed go too.
            f"rm -rf wheels {layout.RELEASES}/.*.tar {layout.PRIVATE_UPLOADS}/*.tar; "
            "sync -f .; touch .complete"
        )
    if state.current != release.digest:
        # A link can't be replaced in place without a moment in which it is missing; a rename can.
        yield StringCommand(
            f"ln -sfn releases/{release.digest} {layout.CURRENT}.new && "
            f"mv -fT {layout.CURRENT}.new {layout.CURRENT}"
        )


@operation()
def old_releases_removed(keep: int) -> Generator[str]:
    """All but the newest `keep` finished releases go, and what was never finished.

    + keep: how many stay; the current one always does
    """
    state = host.get_fact(facts.Releases, releases=layout.RELEASES, current=layout.CURRENT)
    others = [digest for digest in state.complete if digest != state.current]
    old = [*others[keep - 1 :], *state.incomplete]
    if old:
        yield f"rm -rf {facts.quoted(f'{layout.RELEASES}/{digest}' for digest in old)}"


@deploy("Agent")
def agent(node: StorageNode) -> None:
    """Release, keys, settings, units; then both services brought to that state."""
    release, keyset = _release(), _keyset(node)
    release_installed(name="Release", release=release)
    private = f"root:{layout.SERVICE_USER}"
    files_in_place(
        name="Keys of the issuers, gunicorn's settings",
        files=[
            File(layout.KEYSET, keyset, private, 0o640),
            File(layout.GUNICORN_CONF, gunicorn_settings(node), private, 0o640),
        ],
    )
    files_in_place(
        name="Settings",
        files=[File(layout.AGENT_TOML, agent_settings(node), private, 0o640, check=_CHECK)],
    )
    files_in_place(
        name="Units",
        files=[
            File(f"{layout.UNITS}/{name}", text, check="systemd-analyze verify {}")
            for name, text in units(node).items()
        ],
    )
    converged(
        name="Agent runs and is ready",
        service="agent",
        levels=[
            # A restart waits for running uploads, and takes no new ones meanwhile: only for what a
            # running master can't change.
            Level((layout.MASTER, _unit(layout.AGENT_SERVICE)), _restart(layout.AGENT_SERVICE)),
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
        holds=f"{_runs(layout.AGENT_SERVICE)} && "
        f"[ \"$(stat -c '%U %a' {layout.NODE_KEY})\" = '{layout.SERVICE_USER} 600' ]",
    )
    converged(
        name="Worker runs",
        service="worker",
        levels=[
            Level(
                (
                    *(layout.CURRENT, _unit(layout.WORKER_SERVICE), layout.AGENT_TOML),
                    layout.CA_CERTIFICATE,
                ),
                f"systemctl daemon-reload; systemctl enable --quiet {layout.WORKER_SERVICE}; "
                f"systemctl restart {layout.WORKER_SERVICE}",
            )
        ],
        holds=_runs(layout.WORKER_SERVICE),
    )
    old_releases_removed(name="Old releases are gone", keep=KEPT_RELEASES)


def agent_settings(node: StorageNode) -> str:
    """agent.toml."""
    return render("agent/agent.toml.j2", node=node, layout=layout)


def gunicorn_settings(node: StorageNode) -> str:
    """gunicorn.conf.py."""
    return render("gunicorn/gunicorn.conf.py.j2", node=node, layout=layout)


def units(node: StorageNode) -> dict[str, str]:
    """The text of both units by name."""
    return {
        name: render(f"systemd/{name}.j2", node=node, layout=layout)
        for name in (layout.AGENT_SERVICE, layout.WORKER_SERVICE)
    }


def _release() -> Release:
    # Hosts are prepared side by side: the first builds, the others wait for it.
    with _one_build:
        try:
            return build(layout.PROJECT_ROOT)
        except ReleaseError as error:
            raise PyinfraError(str(error)) from None


def _keyset(node: StorageNode) -> str:
    try:
        keyset = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).keyset()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    return keyset.model_dump_json(indent=2, exclude_none=True) + "\n"


def _unit(service: str) -> str:
    return f"{layout.UNITS}/{service}"


def _restart(service: str) -> str:
    identity = _IDENTITY.replace("{}", layout.AGENT_TOML)
    return (
        f"{identity}; systemctl daemon-reload; systemctl enable --quiet {service}; "
        f"systemctl restart {service}; {_wait_until_ready()}"
    )


def _wait_until_ready() -> str:
    return f"{layout.CURRENT}/venv/bin/python -I -c {shlex.quote(_READY)}"


def _runs(service: str) -> str:
    return (
        f"systemctl is-active --quiet {service} && systemctl is-enabled --quiet {service} && "
        f'[ "$(systemctl show --property NeedDaemonReload --value {service})" = no ]'
    )
