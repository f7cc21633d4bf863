"""The node's SSH server as it is: where it listens, what it knows, what is said of it and where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

CONFIG = "/etc/ssh/sshd_config"
DROP_INS = "/etc/ssh/sshd_config.d"

_QUERIES = {"kex": "kex", "cipher": "cipher", "mac": "mac", "host_key": "HostKeyAlgorithms"}
"""What kinds of algorithms there are, and how `ssh -Q` calls them."""

_LOOPBACK = re.compile(r"^(127\.|\[?::1\]?:|localhost:)")


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the server's configuration, in the order in which the server reads them."""

    file: str
    keyword: str
    value: str


@dataclass(frozen=True, slots=True)
class SshServerState:
    """`ports`: those that others reach. `known`: algorithms by what they are for.

    `host_keys` are types and blobs of the public halves; `settings` those outside of Match blocks.
    `methods` are what AuthenticationMethods asks of anybody, in Match blocks too.
    """

    ports: tuple[int, ...]
    known: dict[str, frozenset[str]]
    host_keys: tuple[tuple[str, str], ...]
    settings: tuple[Setting, ...]
    includes_drop_ins: bool
    methods: frozenset[str]

    def first(self, keyword: str, besides: str) -> Setting | None:
        """Who says it first, so that it counts (sshd_config(5)), if `besides` said nothing."""
        found = (
            each
            for each in self.settings
            if each.keyword == keyword.lower() and each.file != besides
        )
        return next(found, None)

    def before(self, keyword: str, drop_in: str) -> Setting | None:
        """Who says it before the drop-in does, so that the drop-in doesn't count."""
        included = False
        for each in self.settings:
            if each.file == CONFIG and each.keyword == "include":
                included = True
            elif included and (each.file == CONFIG or each.file >= drop_in):
                return None
            elif each.keyword == keyword.lower():
                return each
        return None


class SshServer(FactBase[SshServerState | None]):
    """Everything about sshd in one round trip. None: there is no OpenSSH server."""

    @staticmethod
    def default() -> None:
        return None

    def command(self) -> str:
        return (
            "PATH=$PATH:/usr/sbin; command -v sshd >/dev/null || exit 0; echo sshd; "
            # One that is started per connection has no such folder yet.
            "[ -d /run/sshd ] || mkdir -m 0755 /run/sshd; "
            "sshd -T 2>/dev/null | sed -n 's/^listenaddress /listens /p'; "
            "systemctl is-active --quiet ssh.socket && "
            "systemctl show ssh.socket --property=Listen --value 2>/dev/null | "
            "sed -n 's/^\\(.*\\) (Stream)$/listens \\1/p'; "
            "ss --no-header --listening --tcp --numeric --processes 2>/dev/null | "
            "sed -n '/\"sshd\"/s/^[^ ]* *[^ ]* *[^ ]* *\\([^ ]*\\) .*/listens \\1/p'; "
            + "".join(
                f"for a in $(ssh -Q {query} 2>/dev/null); do echo knows {kind} $a; done; "
                for kind, query in _QUERIES.items()
            )
            + "for k in $(sshd -T 2>/dev/null | sed -n 's/^hostkey //p'); do "
            '[ ! -r "$k.pub" ] || echo hostkey $(cut -d " " -f 1,2 "$k.pub"); done; '
            f"LC_ALL=C; for f in {CONFIG} {DROP_INS}/*.conf; do [ ! -f $f ] || "
            'sed "s|^|line $f:|" $f; done'
        )

    def process(self, output: list[str]) -> SshServerState | None:
        if not output:
            return None
        ports: set[int] = set()
        known: dict[str, set[str]] = {kind: set() for kind in _QUERIES}
        host_keys: list[tuple[str, str]] = []
        files: dict[str, list[str]] = {}
        for line in output:
            kind, _, rest = line.partition(" ")
            words = rest.split()
            if kind == "listens" and not _LOOPBACK.match(rest):
                port = rest.rpartition(":")[2]
                ports |= {int(port)} if port.isdigit() else set()
            elif kind == "knows" and len(words) == 2 and words[0] in known:
                known[words[0]].add(words[1])
            elif kind == "hostkey" and len(words) == 2:
                host_keys.append((words[0], words[1]))
            elif kind == "line":
                file, _, text = rest.partition(":")
                files.setdefault(file, []).append(text)
        settings = tuple(_in_order(files))
        return SshServerState(
            ports=tuple(sorted(ports)),
            known={kind: frozenset(names) for kind, names in known.items()},
            host_keys=tuple(host_keys),
            settings=settings,
            includes_drop_ins=any(_includes(text) for text in files.get(CONFIG, ())),
            methods=frozenset(_methods(text for lines in files.values() for text in lines)),
        )


def _in_order(files: dict[str, list[str]]) -> Iterator[Setting]:
    """Every setting outside of Match blocks, drop-ins where the main file includes them."""
    for text in files.get(CONFIG, ()):
        found = _setting(CONFIG, text)
        if found is not None and _includes(text):
            yield found
            for file in sorted(path for path in files if path != CONFIG):
                yield from _settings(file, files[file])
            continue
        if found is not None and found.keyword == "match":
            return
        if found is not None:
            yield found


def _methods(lines: Iterable[str]) -> Iterator[str]:
    for text in lines:
        found = _setting(CONFIG, text)
        if found is not None and found.keyword == "authenticationmethods":
            # Lists of what is asked together; a method may name its device.
            for method in re.split(r"[\s,]+", found.value):
                yield method.partition(":")[0].lower()


def _settings(file: str, lines: list[str]) -> Iterator[Setting]:
    for text in lines:
        found = _setting(file, text)
        if found is not None and found.keyword == "match":
            return
        if found is not None:
            yield found


def _setting(file: str, text: str) -> Setting | None:
    words = text.split("#")[0].replace("=", " ", 1).split(maxsplit=1)
    return Setting(file, words[0].lower(), words[1].strip().strip('"')) if len(words) == 2 else None


def _includes(text: str) -> bool:
    found = _setting(CONFIG, text)
    return found is not None and found.keyword == "include" and DROP_INS in found.value
