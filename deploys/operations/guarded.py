"""Changes that could lock everybody out: undone by the node itself unless a new login has proven
that they don't.

The old state is saved on the node, and a timer there undoes the change a minute later, whatever
becomes of the operator's connection or machine. Only a new connection, made the whole way that
operators come, stops the timer. After a power cut in that minute the node undoes it as it boots.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import gevent
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from deploys import layout
from deploys.hosts import facts
from deploys.operations.files import File, Guard, candidates, changed_files, files_in_place
from deploys.operations.rendering import render

UNDONE_AFTER = 60
"""Seconds. Long enough for a slow way over jump hosts, short enough to wait for."""

PROVEN_WITHIN = 40
"""Seconds for the new login: the answer must be back before the change is undone."""

_FOLDER = f"{layout.STATE}/guarded"
_AT_BOOT = "portside-revert.service"


@operation()
def guarded(
    subject: str,
    files: Sequence[File],
    apply: str,
    undo: str,
    holds: str = "true",
    absent: Sequence[str] = (),
    guards: Sequence[Guard] = (),
) -> Generator[StringCommand | FunctionCommand]:
    """Files put in place and taken over by a service; undone unless a new login proves them.

    + subject: a word for what is changed: names the stamp and the timer
    + files: what should be there, each checked before it takes effect
    + apply: shell that makes the service take them over; it fails where that can't be
    + undo: shell that makes it take over the old ones, once they are back
    + holds: shell condition that must hold anyway, such as "is running"
    + absent: files that should not be there
    + guards: conditions that must hold before anything is changed
    """
    paths = [*(each.path for each in files), *absent]
    stamp = f"{layout.STATE}/{subject}.stamp"
    there = host.get_fact(facts.PathStates, paths=paths)
    found = host.get_fact(facts.Converged, stamp=stamp, levels=[paths], holds=holds)
    changed = changed_files(files, there)
    superfluous = [path for path in absent if path in there]
    taken_over = found is not None and found.holds and found.wanted == found.stamped
    if not changed and not superfluous and taken_over:
        return
    boots = render("systemd/portside-revert.service.j2", folder=_FOLDER)
    yield from files_in_place._inner(files=[File(f"{layout.UNITS}/{_AT_BOOT}", boots)])
    yield from (StringCommand(guard.command) for guard in guards)
    yield from candidates(changed)
    yield StringCommand(_begin(subject, paths, changed, superfluous, apply, undo))
    yield FunctionCommand(proven_by_new_login, (subject,), {})
    yield StringCommand(_keep(subject, paths, stamp))


def proven_by_new_login(state: State, host: Host, subject: str) -> bool:
    """Log in anew, the way this run did, and become root. Without success the change is undone."""
    failure = ""
    deadline = time.monotonic() + PROVEN_WITHIN
    while (left := deadline - time.monotonic()) > 0:
        try:
            with gevent.Timeout(left, ConnectError(failure or "no answer")):
                if _new_login(state, host):
                    return True
            failure = "the login is there, but root's rights are not"
            break
        except (PyinfraError, OSError, EOFError) as error:
            failure = str(error)
        # Who is refused is refused again, and the server shuts out those who go on trying.
        if failure.startswith("Authentication"):
            break
        # A service that is just reading its settings again may not answer for a moment.
        time.sleep(1)
    _undo_now(host, subject)
    host.log_styled(
        f"{subject}: no new login came through after the change ({failure}), so it is undone: mend "
        "what the cluster file says, or the node's own settings, and run this again",
        fg="red",
    )
    return False


def _new_login(state: State, host: Host) -> bool:
    connector = type(host.connector)(state, host)
    connector.connect()
    try:
        done, _ = connector.run_shell_command(
            StringCommand("true"), False, False, _sudo=bool(host.data.get("_sudo"))
        )
        return done
    finally:
        client = getattr(connector, "client", None)
        if client is not None:
            client.close()


def _undo_now(host: Host, subject: str) -> None:
    """Over the old connection, if it still works: the timer does it otherwise."""
    with gevent.Timeout(10, False):
        try:
            host.run_shell_command(
                StringCommand(f"sh {_FOLDER}/{subject}/revert"),
                _sudo=bool(host.data.get("_sudo")),
            )
        except Exception as error:
            host.log_styled(f"{subject}: undone in a minute: {error}", fg="yellow")


def _begin(
    subject: str,
    paths: Sequence[str],
    changed: Sequence[File],
    superfluous: Sequence[str],
    apply: str,
    undo: str,
) -> str:
    """Shell: save, start the timer, change, apply."""
    folder = f"{_FOLDER}/{subject}"
    revert = render(
        "base/revert.sh.j2", folder=folder, subject=subject, paths=paths, undo=undo.strip()
    )
    saved = (
        f"[ ! -e {path} ] || cp -a {path} {folder}.new/{number}"
        for number, path in enumerate(paths)
    )
    lines = [
        "set -e",
        # What an earlier run changed and nobody has proven is no state to go back to.
        f"if [ -e {folder}.reverting ]; then sh {folder}.reverting/revert again; fi",
        f"if [ -e {folder} ]; then sh {folder}/revert; fi",
        f"rm -rf {folder}.new {folder}.proven",
        f"install -d -m 0700 {_FOLDER} {folder}.new",
        *saved,
        f"cat > {folder}.new/revert <<'REVERT'\n{revert}REVERT",
        f"sync -f {_FOLDER}",
        f"mv -T {folder}.new {folder}",
        f"systemctl daemon-reload; systemctl enable --quiet {_AT_BOOT}",
        f"systemd-run --quiet --collect --unit={_unit(subject)} --on-active={UNDONE_AFTER} "
        f"--timer-property=AccuracySec=1s /bin/sh {folder}/revert",
        *(f"mv -fT {facts.quoted((each.candidate, each.path))}" for each in changed),
        *(f"rm -f {facts.quoted([path])}" for path in superfluous),
        # As a condition it would go on after a command that failed.
        "set +e",
        f"( set -e\n{apply.strip()}\n)",
        f"[ $? = 0 ] || {{ sh {folder}/revert; exit 1; }}",
    ]
    return "\n".join(lines)


def _keep(subject: str, paths: Sequence[str], stamp: str) -> str:
    """Shell: the change stays. Whoever renames the folder first, this or the undoing, has it."""
    folder = f"{_FOLDER}/{subject}"
    return (
        f"set -e; {facts.DIGEST_FUNCTION}; systemctl stop {_unit(subject)}.timer; "
        f"mv -T {folder} {folder}.proven 2>/dev/null || "
        f"{{ echo '{subject}: the change was undone before the new login came' >&2; exit 1; }}; "
        f"rm -rf {folder}.proven; echo $(digest {facts.quoted(paths)}) > {stamp}.new; "
        f"mv -fT {stamp}.new {stamp}"
    )


def _unit(subject: str) -> str:
    return f"portside-revert-{subject}"
