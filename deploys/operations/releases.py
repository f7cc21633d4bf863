"""Releases on a node: installed beside each other, `current` pointing to the one that runs, and
the commands by which people run it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from deploys import layout
from deploys.hosts import facts
from deploys.hosts.node import Node
from deploys.operations.files import File
from deploys.operations.rendering import render
from deploys.wheelhouse import Product, Release, ReleaseError, build
from portside.operator.programs import Program

KEPT_RELEASES = 3
"""The one that runs, and two to go back to."""

MAKE_VENV = "make-venv"
"""In a release: makes its virtual environment for the node's Python, if that isn't done yet."""


_one_build = threading.Lock()
_built: WeakKeyDictionary[State, dict[tuple[Product, str], Release]] = WeakKeyDictionary()
"""By the run: all of its nodes get the same release, whatever is edited meanwhile."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a product lives on a node: its releases, and beside their folder the link `current`.

    `loads` names the modules that a release must be able to import.
    """

    product: Product
    releases: str
    current: str
    loads: str


def built_release(home: Home, node: Node) -> Release:
    """The release of the sources as they were when this run first asked, for the node's machine.

    Raises PyinfraError when it can't be built.
    """
    wanted = home.product, node.facts.architecture
    # Hosts are prepared side by side: the first builds, the others wait for it.
    with _one_build:
        built = _built.setdefault(host.state, {})
        if wanted not in built:
            try:
                built[wanted] = build(layout.PROJECT_ROOT, *wanted)
            except ReleaseError as error:
                raise PyinfraError(str(error)) from None
        return built[wanted]


@operation()
def release_installed(release: Release, home: Home) -> Generator[StringCommand | FileUploadCommand]:
    """The release in a virtual environment of its own, beside the one that runs.

    A release counts only with its `.complete`, written last: what a killed run left is built anew.
    Where the node's Python was replaced, every release gets its packages for the new one.

    + release: the wheelhouse on the operator's machine
    + home: where it lives
    """
    state = host.get_fact(facts.Releases, releases=home.releases, current=home.current)
    directory = f"{home.releases}/{release.digest}"
    archive = f"{home.releases}/.{release.digest}.tar"
    if release.digest not in state.complete:
        yield StringCommand(f"rm -rf {directory} && install -d -m 0755 {directory}")
        yield FileUploadCommand(
            str(release.archive),
            archive,
            remote_temp_filename=f"{layout.PRIVATE_UPLOADS}/{release.digest}.tar",
        )
        yield StringCommand(
            f"set -e; umask 022; cd {directory}; tar -x --no-same-owner -f {archive}; "
            f"cat > {MAKE_VENV}; chmod 0755 {MAKE_VENV}; ./{MAKE_VENV}; "
            # Archives of runs that were killed go too. The wheels stay, for another Python.
            f"rm -rf {home.releases}/.*.tar {layout.PRIVATE_UPLOADS}/*.tar; "
            "sync -f .; touch .complete",
            _stdin=render("base/make_venv.sh.j2", pip_wheel=layout.PIP_WHEEL, loads=home.loads),
        )
    for each in state.of_another_python:
        yield StringCommand(f"set -e; cd {home.releases}/{each}; ./{MAKE_VENV}")


@operation()
def release_current(release: Release, home: Home) -> Generator[StringCommand]:
    """The link to the release that runs. Services take it up when they are told to.

    + release: which one
    + home: where it lives
    """
    state = host.get_fact(facts.Releases, releases=home.releases, current=home.current)
    if state.current != release.digest:
        # A link can't be replaced in place without a moment in which it is missing; a rename can.
        yield StringCommand(
            f"ln -sfn {PurePosixPath(home.releases).name}/{release.digest} {home.current}.new && "
            f"mv -fT {home.current}.new {home.current}"
        )


@operation()
def old_releases_removed(home: Home, keep: int) -> Generator[str]:
    """All but the newest `keep` finished releases go, and what was never finished.

    + home: where they are
    + keep: how many stay; the current one always does
    """
    state = host.get_fact(facts.Releases, releases=home.releases, current=home.current)
    others = [digest for digest in state.complete if digest != state.current]
    old = [*others[keep - 1 :], *state.incomplete]
    if old:
        yield f"rm -rf {facts.quoted(f'{home.releases}/{digest}' for digest in old)}"


def command_on_path(program: Program, variable: str, settings: str) -> File:
    """A command for root that runs the current release as the program's own user.

    It follows the link to the release, so that it needn't change with one. `variable` names the
    settings' file, `settings` is where that is unless somebody says otherwise.
    """
    text = render("base/command.sh.j2", program=program, variable=variable, settings=settings)
    return File(program.on_path, text, mode=0o755, check="sh -n {}")
