"""What to do about what went wrong on a host: one line for each kind of trouble that is known.

The words are those of the programs that nodes have (apt, dpkg, sudo, the kernel by way of the C
library) and of paramiko, which connects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

AGAIN = "run the same again: it goes on from there"

_KNOWN = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"no space left on device|you don't have enough free space",
            f"its disk is full: make room (`df -h` there), then {AGAIN}",
        ),
        (r"disk quota exceeded", f"a disk quota is used up there: raise it, then {AGAIN}"),
        (
            r"read-only file system",
            "a filesystem there is read-only, as after a disk error: see `dmesg` and `findmnt -lo "
            f"TARGET,OPTIONS` there, then {AGAIN}",
        ),
        (
            r"(is not valid yet|release file .* is expired)",
            "its clock is wrong, or its mirror is outdated: compare `date -u` there with the real "
            f"time, then {AGAIN}",
        ),
        (
            r"temporary failure (in name resolution|resolving)|could not resolve '",
            "it resolves no names: see /etc/resolv.conf there, and whether its address has a way "
            f"out, then {AGAIN}",
        ),
        (
            r"could not get lock|unable to (lock|acquire the dpkg)",
            "another apt still runs there (`ps -C apt-get,dpkg,unattended-upgr`): once it is "
            f"through, {AGAIN}",
        ),
        (
            r"cdrom:.*does not have a release file|insert the disc",
            "its apt asks for the installer's CD: take the line that begins with `deb cdrom:` out "
            f"of /etc/apt/sources.list there, then {AGAIN}",
        ),
        (
            r"unable to locate package|has no installation candidate",
            "its apt knows no such package: Debian's own mirror belongs into /etc/apt/sources.list "
            f"there, then {AGAIN}",
        ),
        (
            r"failed to fetch|unable to fetch|could not connect to|cannot initiate the connection",
            f"its mirror doesn't answer: try `apt-get update` there, then {AGAIN}",
        ),
        (
            r"dpkg was interrupted|unmet dependencies|dpkg: error processing|"
            r"sub-process /usr/bin/dpkg",
            "a package there can't be set up: `dpkg --configure -a` and `apt-get -f install` there "
            f"say which, then {AGAIN}",
        ),
        (
            r"authentication (failed|error)|no authentication methods|denied \(publickey",
            "it takes none of your keys: `ssh.user` and `ssh.key` of the cluster file must be "
            "those of a login that works",
        ),
        (
            r"host key .*(does not match|mismatch)|key for server .* does not match",
            "it shows another SSH host key than before: if it was installed anew, forget the old "
            "one with `portside keys forget NODE`; if not, somebody may be in between",
        ),
        (
            r"could not resolve hostname|name or service not known",
            "its name leads nowhere: make its DNS record, or give its `address` in the cluster "
            "file",
        ),
        (
            # paramiko says it of a port that nothing listens on and of a host that is gone.
            r"unable to connect to port",
            "is it up, does a firewall let SSH in, is `ssh.port` of the cluster file right? Then "
            f"{AGAIN}",
        ),
        (
            r"timed out|timeout|no route to host|network is unreachable|host is down",
            f"it doesn't answer: is it up, and does a firewall let SSH in? Then {AGAIN}",
        ),
        (
            r"unable to establish sftp",
            "its SSH has no SFTP, by which files come: `Subsystem sftp internal-sftp` belongs into "
            f"/etc/ssh/sshd_config there, then {AGAIN}",
        ),
        (
            r"session not active|socket is closed|connection (reset|lost)|broken pipe|eof",
            f"once it is back, {AGAIN}",
        ),
        (
            r"cannot allocate memory|out of memory|\bkilled$",
            f"it is short of memory: see `free -m` there, then {AGAIN}",
        ),
    )
)

_SAYS_NOTHING = re.compile(
    r"Error(: executed \d+ commands.*|: could not load fact: .*)?|"
    r"\S*sh: warning: setlocale: .*|perl: warning: .*"
)
"""pyinfra's own last line about a command that failed, and a login's locale that isn't there: the
reason is another line."""

LONGEST = 300
"""Characters of a reason: apt's can be a page."""


def explain(said: Sequence[str]) -> tuple[str, str | None]:
    """The line that tells the reason, and what to do about it if that is known.

    `said` is what was heard of a host, the oldest first. The newest line that is of a known kind
    counts; else the last one that says anything.
    """
    telling = [line for line in said if not _SAYS_NOTHING.fullmatch(line)]
    for line in reversed(telling):
        for pattern, remedy in _KNOWN:
            if pattern.search(line):
                return _short(line), remedy
    return (_short(telling[-1]) if telling else "it failed without a word"), None


def _short(line: str) -> str:
    words = " ".join(line.split())
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."
