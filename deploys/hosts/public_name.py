"""A node's public name, looked at from the operator's machine before anything is changed.

An ACME authority comes to whatever the name leads to, at port 80. A failed try there counts against
the domain (Let's Encrypt: five an hour), so what can be seen from here is seen first.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pyinfra.api.facts import FactBase

from deploys.hosts.judgement import Judgement

Address = IPv4Address | IPv6Address

HTTP = 80
_PATIENCE = 5.0
"""Seconds for a connection, and again for an answer."""

_SOMETHING_ELSE = "something else answers there, or keeps port 80 from outside"

_BEHIND_NAT = tuple(
    ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Addresses that others see as another one (RFC 1918, RFC 6598, RFC 4193)."""


@dataclass(frozen=True, slots=True)
class Certified:
    """Whether a node serves the certificate that it should, and what it knows of itself.

    `debian` is the release's number, None elsewhere.
    """

    certified: bool
    addresses: frozenset[Address]
    debian: int | None


class CertificateState(FactBase[Certified]):
    """One look at the node: its certificate, its own addresses, its release.

    The certificate by `command`, which counts only if it goes by `settings` of this `digest`: one
    of another name or authority may be in order too.
    """

    @staticmethod
    def default() -> Certified:
        return Certified(certified=False, addresses=frozenset(), debian=None)

    def command(self, command: str, settings: str, digest: str) -> str:
        return (
            f"echo '{digest}  {settings}' | sha256sum --check --status - 2>/dev/null && "
            f"{command} check >/dev/null 2>&1 && echo certified; "
            "ip -oneline address show scope global | "
            "sed -n 's/.* inet6\\{0,1\\} \\([0-9a-f.:]*\\).*/address \\1/p'; "
            '. /etc/os-release; [ "$ID" = debian ] && echo debian ${VERSION_ID%%.*}; true'
        )

    def process(self, output: list[str]) -> Certified:
        words = [line.partition(" ")[::2] for line in output]
        release = next((value for key, value in words if key == "debian"), "")
        return Certified(
            certified="certified" in output,
            addresses=frozenset(ip_address(value) for key, value in words if key == "address"),
            debian=int(release) if release.isdigit() else None,
        )


def resolve(name: str) -> frozenset[Address]:
    """The A and AAAA records of a name, as this machine sees them; none: it doesn't resolve."""
    try:
        found = socket.getaddrinfo(name, HTTP, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(ip_address(str(each[4][0]).partition("%")[0]) for each in found)


def misled(name: str, led_to: Iterable[Address], own: Iterable[Address]) -> list[str]:
    """What is wrong with a name's records, a line each; `own` are addresses of the node.

    Behind NAT a node doesn't know its public address: then nothing is said of another one, and who
    asks there will see.
    """
    mine, found = _sorted(own), _sorted(led_to)
    if not found:
        return [f"{name} doesn't resolve: create {records(name, mine)}"]
    problems = []
    for address in found:
        alike = [each for each in mine if each.version == address.version]
        translated = not _behind_nat(address) and all(map(_behind_nat, alike))
        if address in mine or (translated and (alike or address.version == 4)):
            continue
        instead = f"make it {records(name, alike)}" if alike else "remove that record"
        problems.append(f"{name} leads to {address}, which is none of this node's: {instead}")
    return problems


def records(name: str, addresses: Iterable[Address]) -> str:
    """DNS records as a zone file has them (RFC 1035, section 5; RFC 3596)."""
    lines = [
        f"`{name}. {'A' if each.version == 4 else 'AAAA'} {each}`" for each in _sorted(addresses)
    ]
    return " and ".join(lines) or f"an A record of {name} with the node's public address"


def closed(name: str, addresses: Iterable[Address], beside: str) -> Judgement:
    """Of which addresses port 80 doesn't answer at all, a line each.

    Refused is fine: nothing listens there yet. An address of a kind that this machine has no way to
    says nothing. Where `beside`, a host of somebody else's, doesn't answer either, it may be this
    machine's network that lets nothing out: that is a note.
    """
    silent = [each for each in _sorted(addresses) if _answers(each) is False]
    return _blamed(
        ((each, f"port 80 of {name} ({each}) doesn't answer") for each in silent),
        "open it in the provider's firewall",
        beside,
    )


def astray(name: str, path: str, expected: str, beside: str) -> Judgement:
    """What is wrong with the answers to a GET of `path` at each of the name's addresses.

    Silence is judged as `closed` does it.
    """
    problems, silent = [], []
    for address in _sorted(resolve(name)):
        what = f"http://{name}{path} at {address} should be a file of this node"
        try:
            got = _fetched(name, address, path)
        except TimeoutError:
            silent.append((address, f"{what}, and nothing answers"))
            continue
        if got is not None and got != expected:
            problems.append(f"{what}, and it is {got}: {_SOMETHING_ELSE}")
    of_silence = _blamed(silent, _SOMETHING_ELSE, beside)
    return Judgement((*problems, *of_silence.problems), of_silence.notes)


def _blamed(silent: Iterable[tuple[Address, str]], mend: str, beside: str) -> Judgement:
    """Addresses that don't answer: the node's, or this machine's who reaches nobody that way."""
    problems, notes = [], []
    for address, line in silent:
        alike = [each for each in resolve(beside) if each.version == address.version]
        if any(_answers(each) for each in alike):
            problems.append(f"{line}: {mend}")
        else:
            notes.append(
                f"{line}; nor does {beside} by IPv{address.version} at port {HTTP} from here, so "
                "it may be this computer's network: the authority will see"
            )
    return Judgement(tuple(problems), tuple(notes))


def _fetched(name: str, address: Address, path: str) -> str | None:
    """What comes back, in words if it is no file; None: there is no way from here.

    Raises TimeoutError where nothing does.
    """
    connection = http.client.HTTPConnection(str(address), HTTP, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers={"Host": name})
        answer = connection.getresponse()
        return (
            answer.read(200).decode(errors="replace")
            if answer.status == 200
            else str(answer.status)
        )
    except ConnectionError as error:
        return str(error) or type(error).__name__
    except http.client.HTTPException as error:
        return f"no HTTP ({error!r})"
    except TimeoutError:
        raise
    except OSError:
        return None
    finally:
        connection.close()


def _answers(address: Address) -> bool | None:
    """Whether anything comes back from port 80, a refusal too; None: there is no way from here."""
    try:
        socket.create_connection((str(address), HTTP), timeout=_PATIENCE).close()
    except TimeoutError:
        return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return None
    return True


def _behind_nat(address: Address) -> bool:
    return any(address in network for network in _BEHIND_NAT)


def _sorted(addresses: Iterable[Address]) -> list[Address]:
    return sorted(set(addresses), key=lambda each: (each.version, int(each)))
