"""Operations that pyinfra lacks: checked files, atomic and never readable by others; directories in
one round trip; services brought to the state of their files.

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
from pyinfra.facts.deb import DebPackages

from deploys.components import facts
from deploys.layout import STATE


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, its owner as `user:group`."""

    path: str
    owner: str = "root:root"
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class File:
    """A text file. `check` is a command with `{}` for the candidate; it must succeed."""

    path: str
    content: str = field(repr=False)
    owner: str = "root:root"
    mode: int = 0o644
    check: str | None = None

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


@dataclass(frozen=True, slots=True)
class Level:
    """Files a service has read, and the shell that makes it read them again."""

    watched: tuple[str, ...]
    action: str


@operation()
def packages_installed(packages: Sequence[str | tuple[str, ...]]) -> Generator[str]:
    """Install what is missing; the package lists are fetched only then.

    + packages: names of Debian packages; of several that do the same, any one will do, and the
      first is installed if there is none
    """
    installed = host.get_fact(DebPackages)
    choices = [(each,) if isinstance(each, str) else each for each in packages]
    missing = [choice[0] for choice in choices if not any(name in installed for name in choice)]
    if missing:
        yield "apt-get update -qq"
        yield (
            "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "
            f"-o Dpkg::Options::=--force-confold {facts.quoted(missing)}"
        )


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
        user, group = each.owner.split(":")
        # Five digits: with fewer, a folder keeps a setgid bit that it has or inherits (chmod(1)).
        yield f"install -d -o {user} -g {group} -m {each.mode:05o} {each.path}"


@operation()
def files_in_place(files: Sequence[File], guards: Sequence[Guard] = ()) -> Generator[StringCommand]:
    """Files with content, owner and mode, each checked before it takes effect.

    Every changed file is written as a candidate beside its place and checked there; only when all
    checks have passed are they renamed over the old ones. A failed check removes the candidates.

    + files: what should be there
    + guards: conditions that must hold first
    """
    states = host.get_fact(facts.PathStates, paths=[each.path for each in files])
    changed = [
        each
        for each in files
        if not _as_wanted(states.get(each.path), each) or states[each.path].digest != each.digest
    ]
    if not changed:
        return
    for guard in guards:
        yield StringCommand(guard.command)
    remove = f"rm -f {facts.quoted(each.candidate for each in changed)}"
    for each in changed:
        yield _written(each, remove)
    for each in changed:
        if each.check:
            check = each.check.replace("{}", shlex.quote(each.candidate))
            yield StringCommand(f"{{ {check}; }} || {{ {remove}; exit 1; }}")
    renames = (f"mv -fT {facts.quoted((each.candidate, each.path))}" for each in changed)
    yield StringCommand(" && ".join(renames))


def _written(file: File, remove: str) -> StringCommand:
    """Write the candidate from standard input: private first, then owner, mode, digest."""
    candidate = shlex.quote(file.candidate)
    # write_stdin ends what it sends with a newline of its own if there is none.
    if not file.content.endswith("\n"):
        raise OperationError(f"{file.path} must end with a newline")
    return StringCommand(
        f"umask 077; {{ cat > {candidate} && chown {file.owner} {candidate} && "
        f"chmod {file.mode:04o} {candidate} && "
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


@operation()
def converged(
    service: str, levels: Sequence[Level] = (), holds: str = "true", otherwise: str = ""
) -> Generator[str]:
    """Bring a service to the state of its files, whoever changed them and whenever.

    The digest of each level's files is compared with a stamp that is written last, after the action
    succeeded: a run killed in between is finished by the next one. The strongest level that differs
    acts; if none differs but `holds` doesn't hold, `otherwise` does.

    + service: the stamp's name
    + levels: watched files and actions, the strongest first
    + holds: shell condition that must hold whatever the files say, such as "is running"
    + otherwise: what makes it hold; the first level's action if empty
    """
    stamp = f"{STATE}/{service}.stamp"
    state = host.get_fact(
        facts.Converged, stamp=stamp, levels=[each.watched for each in levels], holds=holds
    )
    if state is None or len(state.stamped) != len(levels):
        differs: int | None = 0 if levels else None
        holding = state is not None and state.holds
    else:
        pairs = enumerate(zip(state.wanted, state.stamped, strict=True))
        differs = next((i for i, (wanted, stamped) in pairs if wanted != stamped), None)
        holding = state.holds
    if differs is None and holding:
        return
    action = levels[differs].action if differs is not None else otherwise or levels[0].action
    digests = " ".join(f"$(digest {facts.quoted(each.watched)})" for each in levels)
    yield (
        f"set -e; {facts.DIGEST_FUNCTION}; "
        # Taken before the action: what is changed behind its back must count as not yet read.
        f'seen="{digests}"; {action}\n'
        f'install -d -m 0755 {STATE}; echo "$seen" > {stamp}.new; mv -fT {stamp}.new {stamp}'
    )
