"""A certificate from an ACME authority (RFC 8555), and what renews it: Debian's certbot.

certbot has a folder of its own here, and a timer: what an operator asks for with certbot besides
is left to Debian's. Certificate and renewal are `portside-certificate` (programs/certificate.py),
which the deploy runs by its unit too: what works in its sandbox today works in sixty days.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from deploys import layout
from deploys.hosts import public_name
from deploys.hosts.judgement import Judgement
from deploys.hosts.node import Node
from deploys.operations.files import (
    Directory,
    File,
    Guard,
    directories_in_place,
    files_in_place,
)
from deploys.operations.packages import packages_installed
from deploys.operations.reloading import runs, unit_file
from deploys.operations.removal import Removal, files_gone
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from deploys.programs import certificate
from portside.operator import ssh as operators_ssh

FIRST_WITH_PROFILES = 13
"""The Debian release whose certbot (4.0) knows kinds of certificates."""

_CHALLENGES = "/.well-known/acme-challenge"
_UNITS = (layout.CERTIFICATE_SERVICE, layout.CERTIFICATE_TIMER)
_OWN_FILES = (
    *(unit_file(name) for name in _UNITS),
    layout.CERTIFICATE_COMMAND,
    layout.ACME_SETTINGS,
)
# What failed, in one line of the program's own; where it could not even start, systemd's.
_OBTAIN = f"""\
systemctl daemon-reload; systemctl enable --quiet {layout.CERTIFICATE_TIMER}
systemctl restart {layout.CERTIFICATE_TIMER}
rm -f {layout.ACME_HOME}/problem
systemctl start {layout.CERTIFICATE_SERVICE} 2>/dev/null || {{
    grep -s . {layout.ACME_HOME}/problem ||
        journalctl --no-pager -n 5 -u {layout.CERTIFICATE_SERVICE}
    exit 1
}} >&2"""


REMOVAL = Removal(
    units=_UNITS,
    files=(*layout.TLS_FORMER, layout.CERTIFICATE_COMMAND, layout.ACME_SETTINGS),
    trees=(layout.ACME_LOGS,),
)
ACCOUNT = Removal(trees=(layout.ACME_HOME,), machine=True)
"""certbot's account and certificates: an authority gives only so many a week."""


@deploy("Certificate")
def acme(node: Node) -> None:
    """With `tls: {mode: acme}` a certificate that renews itself; otherwise nothing that would."""
    if node.cluster.tls.mode != "acme":
        files_gone(
            name="Nothing renews it by itself",
            paths=[*layout.TLS_FORMER, *_OWN_FILES],
            first=f"systemctl disable --quiet --now {layout.CERTIFICATE_TIMER} 2>/dev/null || true",
        )
        return
    packages_installed(name="certbot", packages=["certbot"])
    directories_in_place(
        name="Folders",
        directories=[
            Directory(layout.ACME_HOME),
            Directory(f"{layout.ACME_HOME}/certbot", mode=0o700),
            Directory(f"{layout.ACME_HOME}/work", mode=0o700),
            Directory(layout.ACME_WEBROOT),
            Directory(layout.ACME_LOGS, mode=0o700),
        ],
    )
    files_in_place(
        name="Settings and command",
        files=[
            File(layout.ACME_SETTINGS, settings(node)),
            File(
                layout.CERTIFICATE_COMMAND,
                Path(certificate.__file__).read_text(encoding="utf-8"),
                mode=0o755,
                check="/usr/bin/python3 -I -c "
                "'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], \"exec\")' {}",
            ),
        ],
    )
    # The timer is only right beside its service.
    for name in _UNITS:
        text = render(f"systemd/{name}.j2", layout=layout, writable=" ".join(_writable()))
        files_in_place(
            name=f"Unit {name}",
            files=[File(unit_file(name), text, check="systemd-analyze verify {}")],
        )
    answers_at_its_name(name="Answers at its name, port 80", node=node)
    converged(
        name="Certificate, and its renewal",
        service="certificate",
        levels=[Level(_OWN_FILES, _OBTAIN)],
        holds=f"{runs(layout.CERTIFICATE_TIMER)} && {layout.CERTIFICATE_COMMAND} check",
    )
    files_gone(name="Nothing is left of former places", paths=layout.TLS_FORMER)


def settings(node: Node) -> str:
    """acme.toml."""
    return render("acme/acme.toml.j2", layout=layout, node=node, tls=node.cluster.tls)


def obstacles(node: Node) -> list[str]:
    """All that is in a certificate's way, a line each: found before anything is changed.

    A node that has its certificate isn't held up by what may be wrong around it.
    """
    found = _look(settings(node))
    problems = [] if found.certified else names_and_ports(node, found)
    profile = node.cluster.tls.profile
    if profile and found.debian is not None and found.debian < FIRST_WITH_PROFILES:
        problems.append(
            f"tls.profile: {profile} needs certbot 4.0, which comes with Debian "
            f"{FIRST_WITH_PROFILES}; this is {found.debian}: leave it out, or upgrade the node"
        )
    return problems


def names_and_ports(node: Node, found: public_name.Certified) -> list[str]:
    """What keeps an authority from finding this node at its name, a line each."""
    # What SSH reaches is the node's too, whether it knows that address or not.
    own = found.addresses | _reached(node)
    led_to = public_name.resolve(node.host)
    wrong = public_name.misled(node.host, led_to, own)
    if wrong:
        return wrong
    judged = public_name.closed(node.host, led_to, _authority(node))
    for note in judged.notes:
        host.log(note)
    return [*judged.problems]


@operation()
def answers_at_its_name(node: Node) -> Generator[str]:
    """Whoever asks for a challenge's file at the node's name gets it: tried before an authority.

    + node: whose name it is
    """
    if _look(settings(node)).certified:
        return
    token = f"portside-{secrets.token_hex(16)}"
    folder = f"{layout.ACME_WEBROOT}{_CHALLENGES}"
    yield f"umask 022; mkdir -p {folder} && echo {token} > {folder}/{token}"
    judged = Judgement((), ())
    if state.is_executing:
        judged = public_name.astray(
            node.host, f"{_CHALLENGES}/{token}", f"{token}\n", _authority(node)
        )
    yield f"rm -f {folder}/portside-*"
    for note in judged.notes:
        host.log(note)
    yield from (Guard("false", each).command for each in judged.problems)


def _authority(node: Node) -> str:
    return urlsplit(node.cluster.tls.acme_directory).hostname or ""


def _reached(node: Node) -> frozenset[public_name.Address]:
    """Where SSH finds the node; where that is by the very name, the one address that answered."""
    to = operators_ssh.access(node.cluster, node.node_id, layout.PROJECT_ROOT)
    if to.address != node.host:
        return public_name.resolve(to.address)
    client = getattr(host.connector, "client", None)
    # By way of a proxy the other end is the proxy's.
    if client is None or to.proxy:
        return frozenset()
    return public_name.resolve(client.get_transport().getpeername()[0])


def _look(wanted: str) -> public_name.Certified:
    found: public_name.Certified = host.get_fact(
        public_name.CertificateState,
        command=layout.CERTIFICATE_COMMAND,
        settings=layout.ACME_SETTINGS,
        digest=hashlib.sha256(wanted.encode()).hexdigest(),
    )
    return found


def _writable() -> tuple[str, ...]:
    return layout.ACME_HOME, layout.ACME_LOGS, layout.TLS
