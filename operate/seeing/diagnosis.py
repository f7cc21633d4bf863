"""What is wrong with a node, by what was found: pure, each finding with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from operate.look import Look
from portside import sizing
from portside.quantities import MIB, format_duration, format_size

CLOCK_OFF = 5.0
"""Seconds. A time service holds a clock within a fraction of one; tokens bear a minute."""

DISK_LOW = 0.10
"""Of a filesystem's bytes or inodes: less than this is free."""

CERTIFICATE_LOW = 14 * 86400
"""Seconds before its end: whatever renews it has failed for weeks."""

_OTHER_RAM = 0.02
"""Of RAM: what a kernel's upgrade changes of what it shows."""

_Words = Annotated[str, Field(max_length=1024)]


class Surroundings(BaseModel):
    """What operate/on_node/examining.py tells. Names with their addresses, servers with why there
    is no TLS with them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    names: dict[str, list[_Words] | None] = Field(max_length=4096)
    servers: dict[str, _Words | None] = Field(max_length=4096)
    issuers: list[_Words] | None = Field(max_length=4096)
    roster: list[_Words] | None = Field(max_length=4096)
    memory_max: int | None = Field(ge=0, lt=2**64)
    synchronized: bool | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the operator's machine knows: `addresses` of the node's name as seen from there, the ids
    of the issuer's keys, the storage nodes that the others should know, None without a roster."""

    host: str
    addresses: tuple[str, ...]
    reachable: str | None
    """Why the node's port 443 can't be had from the operator's machine; None where it can."""
    issuers: tuple[str, ...]
    storage_nodes: tuple[str, ...]
    stores: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `wrong` says what isn't right and what to do, None: it is."""

    check: str
    wrong: str | None


def examine(
    node_id: str, look: Look, clock_off: float, around: Surroundings, expected: Expected
) -> Iterator[Finding]:
    """Every finding about a node, in the order in which one would look."""
    yield Finding("names", _names(around.names, expected))
    yield Finding("ports", expected.reachable or _servers(around.servers))
    yield Finding("clock", _clock(clock_off, around.synchronized))
    yield Finding("disk", _disk(look))
    yield Finding("inodes", _inodes(look))
    yield Finding("certificate", _certificate(look))
    yield Finding("keys", _keys(around, expected))
    yield Finding("memory", _memory(look, around.memory_max) if expected.stores else None)
    yield Finding("services", _services(look, node_id))
    yield Finding("ready", _ready(look))


def _names(names: Mapping[str, list[str] | None], expected: Expected) -> str | None:
    unknown = [name for name, addresses in names.items() if not addresses]
    if unknown:
        return (
            f"it can't resolve {', '.join(unknown)}: create the DNS records (or wait for them), "
            "and see /etc/resolv.conf there"
        )
    if not expected.addresses:
        return f"{expected.host} doesn't resolve here: create its DNS record"
    return None


def _servers(servers: Mapping[str, str | None]) -> str | None:
    failed = [f"{name}: {why}" for name, why in servers.items() if why]
    if failed:
        return f"it doesn't reach {'; '.join(failed)}: copies and heartbeats need that"
    return None


def _clock(off: float, synchronized: bool | None) -> str | None:
    if abs(off) > CLOCK_OFF:
        side = "ahead of" if off > 0 else "behind"
        return (
            f"it is {format_duration(abs(off))} {side} this computer's: `timedatectl` there says "
            "whether a time service runs"
        )
    if synchronized is False:
        return "no time service has set it: install systemd-timesyncd or chrony there"
    return None


def _disk(look: Look) -> str | None:
    for disk in look.disks:
        if disk.read_only:
            return f"{disk.path} is mounted read-only: `dmesg` there says why"
        if disk.total and disk.free / disk.total < DISK_LOW:
            return (
                f"{disk.path} has {format_size(disk.free)} of {format_size(disk.total)} free: add "
                "a disk or a node, or drain this one"
            )
    return None if look.mounted else "the data disk is not mounted: docs/hosts.md says what to do"


def _inodes(look: Look) -> str | None:
    for disk in look.disks:
        if disk.inodes and disk.inodes_free / disk.inodes < DISK_LOW:
            return (
                f"{disk.path} has {disk.inodes_free} of {disk.inodes} inodes free: a file takes "
                "up to seven; ext4 gets no more after mkfs, xfs makes them as needed"
            )
    return None


def _certificate(look: Look) -> str | None:
    if look.certificate_ends is None:
        return "there is none that can be read: deploy the node"
    left = look.certificate_ends - look.now
    if left < CERTIFICATE_LOW:
        when = f"ends in {format_duration(left)}" if left > 0 else "has ended"
        why = f": {look.renewal}" if look.renewal else ""
        return f"it {when}{why}: see docs/certificates.md"
    return None


def _keys(around: Surroundings, expected: Expected) -> str | None:
    if around.issuers is None:
        return "its keyset can't be read: run `pyinfra inventory deploys/keys.py -y`"
    missing = [kid for kid in expected.issuers if kid not in around.issuers]
    if missing:
        return (
            f"it doesn't know the issuer's key {', '.join(missing)}: run "
            "`pyinfra inventory deploys/keys.py -y`"
        )
    if expected.stores and around.roster is not None:
        strangers = [each for each in expected.storage_nodes if each not in around.roster]
        if strangers:
            return (
                f"its roster lacks {', '.join(strangers)}: run "
                "`pyinfra inventory deploys/keys.py -y`"
            )
    return None


def _memory(look: Look, memory_max: int | None) -> str | None:
    """Whether what was deployed was sized for the RAM that is there."""
    try:
        wanted = sizing.size(sizing.Machine(look.memory.total, 1, look.disks[0].total))
    except (ValueError, IndexError) as error:
        return str(error)
    if memory_max is None:
        return "the agent's unit has no bound of memory: deploy the node"
    if abs(wanted.agent_memory_max - memory_max) > _OTHER_RAM * wanted.agent_memory_max + MIB:
        return (
            f"it was deployed for another size of memory ({format_size(memory_max)} for the agent, "
            f"{format_size(wanted.agent_memory_max)} fit this machine): deploy it again"
        )
    return None


def _services(look: Look, node_id: str) -> str | None:
    down = [f"{unit} is {state}" for unit, state in look.units.items() if state != "active"]
    return f"{', '.join(down)}: `fab -H {node_id} logs`" if down else None


def _ready(look: Look) -> str | None:
    said = [why for each in look.ready.values() for why in (*each.reasons, *each.warnings)]
    return "; ".join(said) or None
