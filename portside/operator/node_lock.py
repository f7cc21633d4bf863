"""One change at a time on each node, and a line in its audit log for each: deploys and verbs alike.

The lock is flock(2)'s, held on the node by a process that lives as long as the SSH channel it was
started on: no run that is killed leaves it behind. Its file is in /run, so that looking at a
pristine node changes nothing on its disk. An operator may also close a node for everybody else, for
as long as there is a reason (`fab lock`): that is a file which survives a boot.

Whoever holds the lock is in the audit log: who, what, when, and how it ended by the holder's last
word. The log is only ever appended to; where the filesystem can promise that, it does (chattr(1),
`+a`), and root can't shorten it by accident.
"""

from __future__ import annotations

import getpass
import json
import shlex
import socket
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

FILE = "/run/portside-deploy.lock"
FOLDER = "/var/lib/portside-deploy"
CLOSED = f"{FOLDER}/closed.json"
"""By whom the node was closed for everybody else, and why."""
AUDIT = "/var/log/portside-audit.log"

LONGEST_WHY = 200

_Text = Annotated[str, Field(max_length=1000)]


class Closure(BaseModel):
    """A node closed for everybody but `who`, since a moment in UTC."""

    model_config = ConfigDict(frozen=True)

    who: _Text
    since: AwareDatetime
    why: _Text


class Entry(BaseModel):
    """A line of the audit log. `event` is `begun` or `ended`; `outcome` the holder's last word:
    `done`, `failed`, `interrupted`, or `cut` where there was none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    event: _Text
    who: _Text
    what: _Text
    outcome: _Text | None = None


def script(who: str, what: str, now: datetime, file: str = FILE, audit: str = AUDIT) -> str:
    """Shell: `held`, and hold the lock until standard input ends; else who is in the way.

    `taken <process> <since> <who>` by another run, `closed <JSON of Closure>` by an operator. The
    last line of standard input is how it ended, for the audit log.
    """
    entry = _entry(who, what)
    return (
        f"umask 077; exec 9>>{file}; "
        f"if ! flock --nonblock 9; then echo taken $(cat {file}); exit; fi; "
        f"{_unless_closed_by_others(who)}"
        f"echo $$ {now:%Y-%m-%dT%H:%MZ} {shlex.quote(who)} > {file}; "
        f"{note('begun', entry, audit)}; echo held; outcome=cut; "
        "while read -r word; do outcome=$word; done; "
        f"{note('ended', entry, audit, outcome='$outcome')}"
    )


def note(event: str, entry: str, audit: str = AUDIT, outcome: str = "") -> str:
    """Shell: one line more in the audit log, on the disk when it returns. `entry` is the rest of a
    JSON object. A log that can't be written to stops nobody: a full disk has to be mended."""
    ended = f'\\"outcome\\": \\"{outcome}\\", ' if outcome else ""
    head = f'{{\\"at\\": \\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\\", \\"event\\": \\"{event}\\", {ended}'
    return (
        # A container's root may not, and whoever removes the container could not either.
        f"{{ [ -e {audit} ] || {{ : > {audit}; systemd-detect-virt -qc || chattr +a {audit}; }} "
        "2>/dev/null; "
        f'printf "%s%s\\n" "{head}" {shlex.quote(entry)} >> {audit} && sync {audit}; }} || true'
    )


def done(who: str, what: str, audit: str = AUDIT) -> str:
    """Shell: an entry for what was done elsewhere, by the control plane's word."""
    return note("ended", _entry(who, what), audit, outcome="done")


def close(who: str, why: str, now: datetime, audit: str = AUDIT) -> str:
    """Shell: close the node for everybody but `who`; what is in the way is printed as above."""
    said = Closure(who=who, since=now, why=why).model_dump_json()
    entry = _entry(who, f"closed: {why}")
    return (
        f"umask 077; mkdir -p {FOLDER}; {_unless_closed_by_others(who)}"
        f"printf '%s\\n' {shlex.quote(said)} > {CLOSED}.new && sync {CLOSED}.new && "
        f"mv -f {CLOSED}.new {CLOSED} && sync {FOLDER} && "
        f"{note('ended', entry, audit, outcome='done')} && echo done"
    )


def reopen(who: str, force: bool, audit: str = AUDIT) -> str:
    """Shell: open the node again; one that another closed only with `force`."""
    entry = _entry(who, "opened again")
    return (
        f"{'' if force else _unless_closed_by_others(who)}rm -f {CLOSED} && "
        f"{note('ended', entry, audit, outcome='done')} && echo done"
    )


def _unless_closed_by_others(who: str) -> str:
    """Shell: say who closed the node, and end, unless they did: their name is there as JSON."""
    owner = Closure(who=who, since=datetime(2000, 1, 1, tzinfo=UTC), why="").model_dump_json()
    theirs = owner.partition(',"since"')[0]
    return (
        f"if [ -s {CLOSED} ] && ! grep -qF {shlex.quote(theirs)} {CLOSED}; then "
        f'printf "closed %s\\n" "$(cat {CLOSED})"; exit; fi; '
    )


def refusal(node_id: str, answer: str) -> str | None:
    """Who is in the way, in a line that says what to do; None for an answer that names nobody."""
    word, _, rest = answer.partition(" ")
    if word == "closed":
        closure = read_closure(rest)
        if closure is None:
            return f"{node_id} is closed, and {CLOSED} says nothing that can be read: look at it"
        return (
            f"{node_id} was closed by {closure.who} at {closure.since:%Y-%m-%dT%H:%MZ}: "
            f"{closure.why}; nothing was changed. If that is over: `fab lock --release --force`"
        )
    words = answer.split(" ", 3)
    if word != "taken" or len(words) != 4:
        return None
    _, process, since, who = words
    return (
        f"{node_id} is being changed by {who} since {since}: let that run end; this one has "
        f"changed nothing. If it is gone and its connection hangs: `kill {process}` on {node_id}"
    )


def read_closure(text: str) -> Closure | None:
    """None for what isn't one."""
    try:
        return Closure.model_validate_json(text)
    except ValidationError:
        return None


def read_audit(text: str) -> list[Entry]:
    """The entries of a log, in its order. A line that was cut by a crash is left out."""
    entries = []
    for line in text.splitlines():
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return entries


def me() -> str:
    """Whose run this is, for others to read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _entry(who: str, what: str) -> str:
    return json.dumps({"who": who, "what": what}, ensure_ascii=False)[1:]
