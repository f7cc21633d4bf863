"""What is ours and no longer wanted, taken away, and what has read it told."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys import layout
from deploys.hosts import facts
from deploys.hosts.leftovers import Leftovers
from deploys.layout import STATE

BEGUN = f"{layout.STATE}.removal-"
"""With a digest of what goes: there while a removal is under way. Beside the deploy's own folder,
which is removed too."""


_TREES_GONE = "rm -rf --one-file-system --preserve-root=all"
"""What is mounted at one of them or below holds something else: the run ends there."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a component has put on a machine. Nothing is in it that somebody else may have written.

    `units` are stopped and disabled before their files go; `trees` are folders that hold nothing
    but what is ours, `folders` go only where they are empty by then. `identity` are files by which
    the node is known, which one that is installed anew keeps. `machine`: of the machine itself, not
    of the programs on it. `first` is shell for before, `then` for afterwards; each succeeds on a
    machine where nothing of it is left.
    """

    units: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    machine: bool = False
    first: str = ""
    then: str = ""

    def paths(self, keep_identity: bool) -> tuple[str, ...]:
        """Everything that is not to be there afterwards, folders aside; last the mark of it."""
        units = (f"{layout.UNITS}/{unit}" for unit in self.units)
        own = () if keep_identity else self.identity
        begun = BEGUN + hashlib.sha256(repr(self).encode()).hexdigest()[:16]
        return (*units, *self.files, *self.trees, *own, begun)


@operation()
def taken_away(removal: Removal, keep_identity: bool = False) -> Generator[str]:
    """All that a component has put on a machine is gone. Nothing of it there: nothing is done.

    A run that was killed half-way is finished by the next, to what comes after the files: a mark
    says that it was begun, and goes last.

    + removal: what it has put there
    + keep_identity: whether its keys and certificates stay
    """
    paths = removal.paths(keep_identity)
    found = host.get_fact(Leftovers, paths=paths)
    if not found:
        return
    *there, begun = paths
    steps = ["set -e", f": > {begun}", removal.first]
    if removal.units:
        # The last first: a timer would start its service again. What is no unit any more is passed
        # over; one that doesn't stop ends the run.
        steps.append(
            f"for unit in {facts.quoted(reversed(removal.units))}; do\n"
            f"    [ ! -e {layout.UNITS}/$unit ] || systemctl disable --quiet --now $unit\n"
            "done"
        )
    single = [each for each in there if each not in removal.trees]
    steps.append(f"rm -f {facts.quoted(single)}" if single else "")
    steps.append(f"{_TREES_GONE} {facts.quoted(removal.trees)}" if removal.trees else "")
    steps.append("systemctl daemon-reload" if removal.units else "")
    steps.append(removal.then)
    steps += [
        f"[ ! -d {each} ] || rmdir --ignore-fail-on-non-empty {each}" for each in removal.folders
    ]
    steps.append(f"rm -f {begun}")
    yield "\n".join(filter(None, steps))


@operation()
def files_gone(
    paths: Sequence[str], first: str = "", then: str = "", service: str = ""
) -> Generator[str]:
    """Files that shall not be there.

    + paths: what is removed; never anything that the deploy didn't write
    + first: shell that comes before, where any of them is there
    + then: shell for when something was removed
    + service: the stamp of `converged` for these files. It goes last: a run that was killed before
      that is finished by the next.
    """
    stamps = [f"{STATE}/{service}.stamp"] if service else []
    there = host.get_fact(facts.PathStates, paths=[*paths, *stamps])
    if not there:
        return
    steps = [first, f"rm -f {facts.quoted(paths)}", then]
    if stamps:
        steps.append(f"rm -f {facts.quoted(stamps)}")
    yield "\n".join(["set -e", *filter(None, steps)])
