"""Files, checked before they take effect, atomic and never readable by others; directories in one
round trip.

A file's content travels on the command's standard input: it appears in no argument list, no log and
no temporary file that others could read.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys.hosts import facts
from deploys.operations import differences
from deploys.runs import request


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, its owner as `user:group`.

    `in_owners_folder`: what it is in is not root's. There root would follow that user's links.
    """

    path: str
    owner: str = "root:root"
    mode: int = 0o755
    in_owners_folder: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A text file. `check` is a command with `{}` for the candidate; it must succeed.

    `in_owners_folder`: as a directory's; its owner writes it.
    """

    path: str
    content: str = field(repr=False)
    owner: str = "root:root"
    mode: int = 0o644
    check: str | None = None
    in_owners_folder: bool = False

    @property
    def candidate(self) -> str:
        """Beside the file, so that the rename is atomic; the suffix stays, for tools that look."""
        path = PurePosixPath(self.path)
        return str(path.with_name(f".candidate-{path.name}"))

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hex."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Guard:
    """A shell condition that must hold before anything is changed, and what to say if not."""

    condition: str
    message: str

    @property
    def command(self) -> str:
        """Shell that fails with the message."""
        return f"{{ {self.condition}; }} || {{ echo {shlex.quote(self.message)} >&2; exit 1; }}"


@operation()
def directories_in_place(
    directories: Sequence[Directory], guards: Sequence[Guard] = ()
) -> Generator[str]:
    """Directories with their owners and modes.

    + directories: parents before what is in them
    + guards: conditions that must hold first
    """
    states = host.get_fact(facts.PathStates, paths=[each.path for each in directories])
    wrong = [each for each in directories if not _as_wanted(states.get(each.path), each)]
    if not wrong:
        return
    yield from (guard.command for guard in guards)
    for each in wrong:
        yield _made_in_owners_folder(each) if each.in_owners_folder else _made(each)


def _made(directory: Directory) -> str:
    user, group = directory.owner.split(":")
    # Five digits: with fewer, a folder keeps a setgid bit that it has or inherits (chmod(1)).
    return f"install -d -o {user} -g {group} -m {directory.mode:05o} {directory.path}"


def _made_in_owners_folder(directory: Directory) -> str:
    """Shell: a link may be in its place at any moment. What root has gone into stays what it is:
    that is looked at, and its mode changed only if it is the owner's.
    """
    path, owner = directory.path, directory.owner
    return (
        f"mkdir -p {path} && chown -h {owner} {path} && cd {path} && "
        f'{{ [ "$(stat -c %U:%G .)" = {owner} ] || '
        f"{{ echo {path} leads to a folder that is not {owner} >&2; exit 1; }}; }} && "
        f"chmod {directory.mode:05o} ."
    )


@operation()
def mode_in_place(path: str, owner: str, mode: int) -> Generator[str]:
    """Owner and mode of a file that the node makes itself, where it is made by now.

    + path: the file
    + owner: `user:group`
    + mode: its permissions
    """
    state = host.get_fact(facts.PathStates, paths=[path]).get(path)
    if state is not None and (f"{state.owner}:{state.group}", state.mode) != (owner, mode):
        # Closed before it is given away.
        yield f"chmod {mode:04o} {path} && chown {owner} {path}"


@operation()
def files_in_place(files: Sequence[File], guards: Sequence[Guard] = ()) -> Generator[StringCommand]:
    """Files with content, owner and mode, each checked before it takes effect.

    Every changed file is written as a candidate beside its place and checked there; only when all
    checks have passed are they renamed over the old ones. A failed check removes the candidates.

    + files: what should be there
    + guards: conditions that must hold first
    """
    there = host.get_fact(facts.PathStates, paths=[each.path for each in files])
    changed = changed_files(files, there)
    if not changed:
        return
    if request.current().dry:
        differences.show(changed, there)
    for guard in guards:
        yield StringCommand(guard.command)
    yield from candidates(changed)
    renames = (f"mv -fT {facts.quoted((each.candidate, each.path))}" for each in changed)
    yield StringCommand(" && ".join(renames))


def changed_files(files: Sequence[File], there: dict[str, facts.PathState]) -> list[File]:
    """Those that aren't as wanted: content, owner or mode."""
    return [
        each
        for each in files
        if not _as_wanted(there.get(each.path), each) or there[each.path].digest != each.digest
    ]


def candidates(files: Sequence[File]) -> Generator[StringCommand]:
    """Write each beside its place and check it there. A failed check removes all of them."""
    remove = f"rm -f {facts.quoted(each.candidate for each in files)}"
    for each in files:
        yield _written(each, remove)
    for each in files:
        if each.check:
            check = each.check.replace("{}", shlex.quote(each.candidate))
            yield StringCommand(f"{{ {check}; }} || {{ {remove}; exit 1; }}")


def _written(file: File, remove: str) -> StringCommand:
    """Write the candidate from standard input: private first, then owner, mode, digest."""
    candidate = shlex.quote(file.candidate)
    write = (
        f"cat > {candidate} && chown {file.owner} {candidate} && chmod {file.mode:04o} {candidate}"
    )
    if file.in_owners_folder:
        user = file.owner.partition(":")[0]
        # Also one that a run which was killed has left, whoever's it is.
        write = (
            f"rm -f {candidate} && runuser -u {user} -- sh -c {shlex.quote(f'umask 077; {write}')}"
        )
    # write_stdin ends what it sends with a newline of its own if there is none.
    if not file.content.endswith("\n"):
        raise OperationError(f"{file.path} must end with a newline")
    return StringCommand(
        f"umask 077; {{ {write} && "
        # A connection that is cut looks like the end of the file.
        f"echo '{file.digest}  {file.candidate}' | sha256sum --check --quiet -; }} || "
        f"{{ {remove}; exit 1; }}",
        _stdin=file.content,
    )


def _as_wanted(state: facts.PathState | None, wanted: Directory | File) -> bool:
    kind = "directory" if isinstance(wanted, Directory) else "file"
    return state is not None and (state.kind, f"{state.owner}:{state.group}", state.mode) == (
        kind,
        wanted.owner,
        wanted.mode,
    )
