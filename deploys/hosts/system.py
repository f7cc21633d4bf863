"""A node's system before it is tightened: what can be, what its operator said, what waits."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from deploys.hosts.facts import quoted

# A key with `*` has a file for each interface: all of them must be writable.
_SETTABLE = """\
settable() { key=$1; shift; for path; do [ -w $path ] || return 0; done; echo settable=$key; }
"""

# What sysctl reads (sysctl.d(5)) beside the files of this deploy.
_THEIRS = r"""
for file in /etc/sysctl.conf /etc/sysctl.d/*.conf; do
    case $file in *portside*) ;; *)
        sed -n 's/^[ \t-]*\([a-z][^ \t=#;]*\)[ \t]*=.*/theirs=\1/p' $file 2>/dev/null ;;
    esac
done
"""

# A library or program that apt has replaced is still in memory: as a file that is gone. Every
# process counts, not the unit's main one alone: what serves for us starts those that do the work.
_REPLACED = r"""
for maps in $(grep -ls ' /usr/.* (deleted)$' /proc/[0-9]*/maps); do
    sed -n 's|.*/\([^/]*\.service\)\(/.*\)\{0,1\}$|replaced=\1|p' ${maps%maps}cgroup 2>/dev/null
done
"""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """`settable` and `theirs` are keys of the kernel: those that this node may set, and those that
    a file of the operator's sets. `log_disk` is the size in bytes of the disk of the logs.
    `replaced` are services that run what an upgrade has replaced on disk, `reboot` says that the
    kernel is such. `masked` are timers that somebody has switched off for good.
    `nginx_before_sandbox`: nginx has run since before its sandbox was written.
    """

    settable: frozenset[str]
    theirs: frozenset[str]
    log_disk: int
    replaced: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    reboot: bool = False
    nginx_before_sandbox: bool = False


class System(FactBase[SystemFacts]):
    """One round trip for all of it."""

    @staticmethod
    def default() -> SystemFacts:
        return SystemFacts(frozenset(), frozenset(), 0)

    def command(self, keys: Sequence[str], timers: Sequence[str], marker: str) -> str:
        settable = "; ".join(f"settable {shlex.quote(key)} {path(key)}" for key in keys)
        return (
            f"{_SETTABLE}{settable or 'true'}{_THEIRS}"
            "echo log_disk=$(df --block-size=1 --output=size /var/log | tail -n 1)"
            f"{_REPLACED}"
            f"for timer in {quoted(timers)}; do "
            '[ "$(systemctl is-enabled $timer 2>/dev/null)" = masked ] && echo masked=$timer; '
            "done; "
            f'[ -s {marker} ] && [ "$(cat {marker})" = '
            '"$(systemctl show --property InvocationID --value nginx.service)" ] && '
            "echo nginx_before_sandbox=yes; "
            "[ -e /run/reboot-required ] && echo reboot=yes; true"
        )

    def process(self, output: list[str]) -> SystemFacts:
        lines = [line.partition("=")[::2] for line in output]

        def all_of(name: str) -> Iterable[str]:
            return dict.fromkeys(value.strip() for key, value in lines if key == name)

        return SystemFacts(
            settable=frozenset(all_of("settable")),
            # sysctl.d(5): either separator will do.
            theirs=frozenset(key.replace("/", ".") for key in all_of("theirs")),
            log_disk=int(next(iter(all_of("log_disk")), "") or 0),
            replaced=tuple(all_of("replaced")),
            masked=tuple(all_of("masked")),
            reboot="yes" in all_of("reboot"),
            nginx_before_sandbox="yes" in all_of("nginx_before_sandbox"),
        )


def path(key: str) -> str:
    """Where the kernel has a setting; `*` in it stands for each interface."""
    return "/proc/sys/" + key.replace(".", "/")
