"""The machines get Debian from where this computer gets it, whichever mirror that is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.commands import Problem, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
POCKETS = ("", "-updates", "-security")
# What apt needs to reach the mirror, as opposed to what the owner of this computer likes. A mirror
# that lags behind is no reason to pass over a clock that is wrong: Check-Date stays as it is.
PASSED_ON = re.compile(r"Acquire::(?:\w+::Proxy\S*|Check-Valid-Until)\s")


@dataclass(frozen=True)
class Source:
    """One mirror, one suite: a line of the one-line format."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def sources_for(release: str) -> list[Source]:
    """This computer's Debian mirrors, with another release's name put in."""
    own = own_codename(Path("/etc/os-release").read_text())
    found = [source for path in _apt_files() for source in parse(path.name, path.read_text())]
    rewritten = [rewrite(source, own, release) for source in found if is_debian(source, own)]
    if not rewritten:
        raise Problem(
            f"no Debian mirror for {own} in /etc/apt/sources.list or /etc/apt/sources.list.d: "
            "the lab copies its mirror from there"
        )
    return list(dict.fromkeys(rewritten))


def one_line(source: Source) -> str:
    return f"deb {source.uri} {source.suite} {' '.join(source.components)}"


def deb822(sources: list[Source]) -> str:
    return "\n".join(
        f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\n"
        f"Components: {' '.join(source.components)}\nSigned-By: {KEYRING}\n"
        for source in sources
    )


def proxy_options() -> list[str]:
    return pick_options(run("apt-config", "dump"))


def pick_options(apt_config_dump: str) -> list[str]:
    """Settings without a value are mere parents of others."""
    lines = apt_config_dump.splitlines()
    return [line for line in lines if PASSED_ON.match(line) and not line.endswith(' "";')]


def own_codename(os_release: str) -> str:
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", os_release, re.MULTILINE)
    if not found:
        raise Problem("/etc/os-release names no Debian release: the lab can't tell its mirrors")
    return found[1]


def is_debian(source: Source, own: str) -> bool:
    foreign_key = source.signed_by and "debian-archive-keyring" not in source.signed_by
    return not foreign_key and source.suite in {own + pocket for pocket in POCKETS}


def rewrite(source: Source, own: str, release: str) -> Source:
    return Source(source.uri, release + source.suite.removeprefix(own), source.components)


def parse(file_name: str, text: str) -> Iterator[Source]:
    return _parse_deb822(text) if file_name.endswith(".sources") else _parse_one_line(text)


def _apt_files() -> Iterator[Path]:
    yield from (path for path in [Path("/etc/apt/sources.list")] if path.exists())
    folder = Path("/etc/apt/sources.list.d")
    yield from sorted([*folder.glob("*.list"), *folder.glob("*.sources")])


def _parse_one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if found:
            options, uri, suite, components = found.groups()
            key = re.search(r"signed-by=(\S+)", options or "")
            yield Source(uri, suite, tuple(components.split()), key[1] if key else "")


def _parse_deb822(text: str) -> Iterator[Source]:
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = {
            name.lower(): " ".join(value.split())
            for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields["uris"].split():
            for suite in fields["suites"].split():
                components = tuple(fields.get("components", "").split())
                yield Source(uri, suite, components, fields.get("signed-by", ""))
