"""What a node is and holds right now. Every fact is one round trip, whatever it asks for."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pydantic import ValidationError
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from portside.sizing import Machine
from portside.wire.keys import PublicKey

_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 where there is no limit."""

_SYSTEMS_OWN = PurePosixPath("/")

SYSCTLS = (
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_mtu_probing",
    "net.core.default_qdisc",
    "vm.dirty_background_bytes",
    "vm.dirty_bytes",
)
"""Kernel settings a node wants to set; `tuning` has their values."""


def quoted(words: Iterable[str]) -> str:
    """Words as one line of shell."""
    return " ".join(shlex.quote(word) for word in words)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a run can't change: safe to branch on while it is still being prepared."""

    machine: Machine
    container: bool
    ipv6: bool
    ssh_port: int | None
    open_files: int
    settable_sysctls: frozenset[str]
    congestion_controls: frozenset[str]
    device_present: bool
    mount_point: PurePosixPath = _SYSTEMS_OWN
    architecture: str = "x86_64"
    """As `uname -m` says it: which release the node gets."""
    unproven: str | None = None
    """The release that ran before a change which no run has proven yet: "" where none did, None
    where there is no such change. Only the node's own turn ends that."""


class Node(FactBase[NodeFacts]):
    """RAM (the smaller of MemTotal and the cgroup's limit), cores, disk, and what kind of node.

    The disk is the data device if there is one, else the filesystem that `root` will be on, which
    is mounted on `mount_point`. The SSH port is the one this very connection came in by,
    `open_files` init's hard limit: what a container may not raise. `before` is where a run keeps
    what it changes until it has proven that.
    """

    def command(self, root: str, device: str | None, sysctls: Sequence[str], before: str) -> str:
        paths = {key: "/proc/sys/" + key.replace(".", "/") for key in sysctls}
        settable = "; ".join(f"[ -w {path} ] && echo sysctl={key}" for key, path in paths.items())
        disk = (
            f"blockdev --getsize64 {shlex.quote(device)} 2>/dev/null"
            if device
            else "df --block-size=1 --output=size $p | tail -n 1"
        )
        return (
            "echo memory_kib=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo); "
            "for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do "
            "[ -r $f ] && echo limit=$(cat $f); done; "
            "echo cores=$(nproc); echo architecture=$(uname -m); "
            "echo open_files=$(awk '/^Max open files/ {print $5}' /proc/1/limits); "
            f"p={shlex.quote(root)}; while [ ! -e $p ]; do p=$(dirname $p); done; "
            f"echo disk=$({disk}); "
            "echo mount_point=$(df --output=target $p | tail -n 1); "
            "systemd-detect-virt --container --quiet && echo container=yes; "
            "[ -e /proc/net/if_inet6 ] && echo ipv6=yes; "
            # sudo takes SSH_CONNECTION out of the environment; the session's shell still has it.
            "p=$$; while [ $p -gt 1 ]; do "
            "c=$(tr '\\0' '\\n' < /proc/$p/environ 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p'); "
            '[ -n "$c" ] && echo ssh_port=${c##* } && break; '
            "p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status); done; "
            "for c in $(cat /proc/sys/net/ipv4/tcp_available_congestion_control); do "
            f"echo congestion=$c; done; {settable}; "
            f"[ -d {before} ] && echo unproven=$(cat {before}/release 2>/dev/null); true"
        )

    def process(self, output: list[str]) -> NodeFacts:
        lines = [line.partition("=")[::2] for line in output]
        first = dict(reversed(lines))
        try:
            limits = [int(value) for key, value in lines if key == "limit" and value.isdigit()]
            ram = min([int(first["memory_kib"]) * 1024, *(n for n in limits if n < _UNLIMITED)])
            disk = first["disk"].strip()
            return NodeFacts(
                machine=Machine(ram=ram, cores=int(first["cores"]), disk=int(disk or 0)),
                architecture=first["architecture"],
                container="container" in first,
                ipv6="ipv6" in first,
                ssh_port=int(first["ssh_port"]) if "ssh_port" in first else None,
                open_files=int(first["open_files"]),
                settable_sysctls=frozenset(v for k, v in lines if k == "sysctl"),
                congestion_controls=frozenset(v for k, v in lines if k == "congestion"),
                device_present=bool(disk),
                mount_point=PurePosixPath(first["mount_point"]),
                unproven=first.get("unproven"),
            )
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"this is no Debian node we can read: {error!r}") from None


@dataclass(frozen=True, slots=True)
class PathState:
    """What is at a path. `digest` is a file's SHA-256."""

    kind: Literal["file", "directory", "other"]
    mode: int
    owner: str
    group: str
    digest: str | None = None


class PathStates(FactBase[dict[str, PathState]]):
    """Kind, mode, owner and content's digest of each path that exists; links are followed."""

    default = dict

    def command(self, paths: Sequence[str]) -> str:
        return (
            f"for p in {quoted(paths)}; do [ -e $p ] || continue; "
            "if [ -f $p ]; then k=file; d=$(sha256sum < $p); "
            "elif [ -d $p ]; then k=directory; d=-; else k=other; d=-; fi; "
            "echo $k $(stat -L -c '%a %U %G' $p) ${d%% *} $p; done"
        )

    def process(self, output: list[str]) -> dict[str, PathState]:
        states: dict[str, PathState] = {}
        for line in output:
            kind, mode, owner, group, digest, path = line.split(" ", 5)
            known: Literal["file", "directory", "other"] = (
                kind if kind in ("file", "directory") else "other"  # type: ignore[assignment]
            )
            states[path] = PathState(
                known, int(mode, 8), owner, group, None if digest == "-" else digest
            )
        return states


class Packages(FactBase[frozenset[str]]):
    """Those of the Debian packages that are installed."""

    default = frozenset

    def command(self, names: Sequence[str]) -> str:
        # It complains of those that dpkg has never heard of, and tells of the others.
        return (
            f"dpkg-query -W -f '${{db:Status-Status}} ${{Package}}\n' {quoted(names)} 2>/dev/null; "
            "true"
        )

    def process(self, output: list[str]) -> frozenset[str]:
        pairs = (line.partition(" ")[::2] for line in output)
        return frozenset(name for status, name in pairs if status == "installed")


DIGEST_FUNCTION = (
    # A link counts by where it points, a missing file as missing: both are states to tell apart.
    'digest() { for p in "$@"; do if [ -L $p ]; then echo link $p $(readlink $p); '
    "elif [ -e $p ]; then sha256sum $p; else echo missing $p; fi; done | "
    "sha256sum | cut -d ' ' -f 1; }"
)
"""Shell: one digest over what is at all the paths given."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """What a service should run (`wanted`), what it was last brought to (`stamped`), and whether
    the condition that must hold anyway does: one digest per level, the strongest first."""

    wanted: tuple[str, ...]
    stamped: tuple[str, ...]
    holds: bool


class Converged(FactBase[Convergence]):
    """Compares files with the stamp of the last finished run."""

    def command(self, stamp: str, levels: Sequence[Sequence[str]], holds: str) -> str:
        digests = " ".join(f"$(digest {quoted(level)})" for level in levels)
        return (
            f"{DIGEST_FUNCTION}; echo wanted {digests}; "
            f"echo stamped $(cat {shlex.quote(stamp)} 2>/dev/null); "
            f"if {{ {holds}; }} >/dev/null 2>&1; then echo holds; fi"
        )

    def process(self, output: list[str]) -> Convergence:
        words = {line.split(" ")[0]: tuple(line.split(" ")[1:]) for line in output}
        return Convergence(
            words.get("wanted", ()),
            tuple(w for w in words.get("stamped", ()) if w),
            "holds" in words,
        )


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """Releases of the agent on a node: the finished ones, newest first; unfinished; current; those
    that are finished but for the Python that the node has now."""

    complete: tuple[str, ...]
    incomplete: tuple[str, ...]
    current: str | None
    of_another_python: tuple[str, ...] = ()


class Releases(FactBase[ReleaseState]):
    """What is in the releases folder, and which one `current` points to."""

    @staticmethod
    def default() -> ReleaseState:
        return ReleaseState((), (), None)

    def command(self, releases: str, current: str) -> str:
        # By the time a release was finished, newest first; `ls -t` sorts what exists. One without
        # a way to make its packages for another Python counts as unfinished where it needs that.
        return (
            "packages=venv/lib/$(basename $(readlink -f /usr/bin/python3)); "
            f"for c in $(ls -1dt {releases}/*/.complete 2>/dev/null); do d=${{c%/.complete}}; "
            "n=$(basename $d); if [ -e $d/$packages/.made ]; then echo complete $n; "
            "elif [ -x $d/make-venv ]; then echo complete $n; echo another-python $n; "
            "elif [ -d $d/$packages ]; then echo complete $n; else echo incomplete $n; fi; done; "
            f"for d in {releases}/*/; do [ -d $d ] && [ ! -e $d/.complete ] && "
            "echo incomplete $(basename $d); done; "
            f"[ -L {current} ] && echo current $(basename $(readlink {current})); true"
        )

    def process(self, output: list[str]) -> ReleaseState:
        words = [line.partition(" ")[::2] for line in output]
        return ReleaseState(
            tuple(value for key, value in words if key == "complete"),
            tuple(value for key, value in words if key == "incomplete"),
            next((value for key, value in words if key == "current"), None),
            tuple(value for key, value in words if key == "another-python"),
        )


@dataclass(frozen=True, slots=True)
class KeyShown:
    """The public half of a node's key; `made` says whether there is a key, readable or not."""

    made: bool
    key: PublicKey | None


class PublicKeyShown(FactBase[KeyShown]):
    """What the agent's own command says of the node's key."""

    @staticmethod
    def default() -> KeyShown:
        return KeyShown(made=False, key=None)

    def command(self, key: str, command: str) -> str:
        return f"[ ! -e {key} ] || {{ echo made; {command} identity 2>/dev/null || true; }}"

    def process(self, output: list[str]) -> KeyShown:
        made, shown = "made" in output, [line for line in output if line.startswith("{")]
        try:
            return KeyShown(made, PublicKey.model_validate_json(shown[0]) if shown else None)
        except ValidationError as error:
            raise FactProcessError(f"the node's public key can't be read: {error}") from None
