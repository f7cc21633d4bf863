"""Services: that they run, and changes seen to be taken up: new processes are the only proof.

`systemctl reload` of nginx succeeds once the signal is sent. A master that can't take its new
configuration (an address in use, say) logs it and goes on with the old one. Services of our own run
by generations (`portside.serving`): their reload and restart wait until the new one serves.
"""

from __future__ import annotations

import shlex

from deploys import layout
from deploys.operations.files import Directory, File
from deploys.operations.rendering import render

_SOURCES = layout.PROJECT_ROOT / "portside" / "serving"
_PARSES = "python3 -IB -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' {}"
"""By the node's Python, which may be older than the one here."""


def unit_file(name: str) -> str:
    """Where a unit of ours is."""
    return f"{layout.UNITS}/{name}"


def runs(service: str) -> str:
    """Shell: whether a service runs, by the unit file as it is, and will after a boot."""
    return (
        f"systemctl is-active --quiet {service} && systemctl is-enabled --quiet {service} && "
        f'[ "$(systemctl show --property NeedDaemonReload --value {service})" = no ]'
    )


def reload_or_start(service: str, complaint: str) -> str:
    """Shell: start a stopped service; reload a running one and wait for a new worker process.

    `complaint` is shell that tells why, for when there is none within ten seconds.
    """
    return f"""\
systemctl unmask --quiet {service}
systemctl enable --quiet {service}
if systemctl is-active --quiet {service}; then
    # After an upgrade of nginx its old master finishes what it has. systemd still takes it for the
    # main one, while the pid file names the one that takes the next requests.
    master=$(cat "$(systemctl show --property PIDFile --value {service})" 2>/dev/null ||
        systemctl show --property MainPID --value {service})
    before=" $(cat /proc/$master/task/$master/children) "
    systemctl reload {service}
    fresh=
    for attempt in $(seq 100); do
        for worker in $(cat /proc/$master/task/$master/children); do
            case "$before" in *" $worker "*) ;; *) fresh=$worker ;; esac
        done
        [ -n "$fresh" ] && break
        sleep 0.1
    done
    if [ -z "$fresh" ]; then
        echo '{service} goes on with its old configuration:' >&2
        {complaint} >&2
        exit 1
    fi
else
    systemctl start {service}
fi
"""


def serving_directories() -> list[Directory]:
    """Where what serves lies: outside any release, so that every release is served by it."""
    return [
        Directory(str(folder))
        for folder in (layout.SERVE_LIBRARY, f"{layout.SERVE_LIBRARY}/portside", _library())
    ]


def serving_files() -> list[File]:
    """What serves: `portside.serving` as it is here, and the command."""
    command = render("base/serve.py.j2", library=layout.SERVE_LIBRARY)
    modules = [
        File(f"{_library()}/{path.name}", path.read_text(encoding="utf-8"), check=_PARSES)
        for path in sorted(_SOURCES.glob("*.py"))
    ]
    return [*modules, File(layout.SERVE_COMMAND, command, mode=0o755, check=_PARSES)]


def next_generation(service: str, socket: str) -> str:
    """Shell: a running service takes up what it reads, a stopped one starts; the old processes
    finish what they have, and go on with everything where the new one fails.
    """
    return f"""\
systemctl enable --quiet {service}
if systemctl is-active --quiet {service}; then
    systemctl reload {service} || {_complaint(service)}
else
    # One that tries to start in vain, as it was, is not waited for.
    systemctl restart {service} || {_complaint(service)}
fi
{_wait(service, socket)}"""


def unit_taken_over(service: str, socket: str) -> str:
    """Shell: as `next_generation`, under the unit as it is by now."""
    return f"""\
systemctl daemon-reload
systemctl enable --quiet {service}
main=$(systemctl show --property MainPID --value {service})
if [ "$main" != 0 ] && ! {_is_supervisor()}; then
{_from_gunicorn_alone(service, socket)}
else
    systemctl restart {service} || {_complaint(service)}
fi
{_wait(service, socket)}"""


def runs_by_generations(service: str) -> str:
    """Shell: whether a supervisor runs it, and not gunicorn by itself."""
    return (
        f"{{ main=$(systemctl show --property MainPID --value {service}); "
        f'[ "${{main:-0}}" != 0 ] && {_is_supervisor()}; }}'
    )


def room(socket: str, user: str) -> str:
    """Shell: whether a service could take something up at once. One that doesn't run could.

    As the service's `user`: it writes beside the socket, where that user could lead root astray.
    """
    command = layout.SERVE_COMMAND
    # Those of releases before it don't know of this verb.
    return (
        f"! {command} --help 2>/dev/null | grep -q room || "
        f"runuser -u {user} -- {command} --socket {shlex.quote(socket)} room"
    )


def one_beyond(socket: str, user: str) -> str:
    """Shell: what is asked of the service next needn't wait for room. It is told so as its `user`,
    whose folder that is.
    """
    command = layout.SERVE_COMMAND
    # Releases before it don't know of this verb; where nothing runs there is room.
    return (
        f"if {command} --help 2>/dev/null | grep -q beyond; then "
        f"runuser -u {user} -- {command} --socket {shlex.quote(socket)} beyond || true; fi\n"
    )


def _from_gunicorn_alone(service: str, socket: str) -> str:
    """Shell: from a unit that runs gunicorn itself, as before there were generations.

    Told to stop, that would take no uploads for as long as it finishes its own. Its worker finishes
    them without it; what comes from now on waits in the queue of a new socket. Its private /tmp is
    kept, which a restart takes away: SQLite may ask for it.
    """
    return f"""\
    {layout.SERVE_COMMAND} --socket {shlex.quote(socket)} inherit $main
    private="systemd-private-*-{service}-*/tmp"
    for folder in /tmp/$private /var/tmp/$private; do
        [ ! -d $folder ] || mount --bind $folder $folder
    done
    # Its own queue is empty by then.
    sleep 1
    systemctl restart --no-block {service}
    kill -KILL $main
    systemctl start {service} || {_complaint(service)}"""


def _is_supervisor() -> str:
    return f"tr '\\0' ' ' < /proc/$main/cmdline | grep -q {layout.SERVE_COMMAND}"


def _wait(service: str, socket: str) -> str:
    return f"{layout.SERVE_COMMAND} --socket {shlex.quote(socket)} wait || {_complaint(service)}\n"


def _complaint(service: str) -> str:
    journal = f"journalctl --no-pager --lines 8 --output cat --unit {service}"
    return f"{{ echo '{service} has not taken over:' >&2; {journal} >&2; exit 1; }}"


def _library() -> str:
    return f"{layout.SERVE_LIBRARY}/portside/serving"
