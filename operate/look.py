"""How nodes are, as each says itself over SSH: what `status` and `doctor` judge by."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from operate import nodes
from operate.site import Site
from portside.cluster.file import CONTROL_PORT_BESIDE_STORAGE
from portside.operator.programs import MARKER, PROGRAMS
from portside.wire.status import Readiness

CERTIFICATE = "/etc/portside/tls/node.pem"

_PROGRAM = Path(__file__).with_name("on_node") / "looking.py"

_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Words = Annotated[str, Field(max_length=4096)]


class _Told(BaseModel):
    """What a node says; what a later release adds is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Disk(_Told):
    """A filesystem, in bytes and inodes; `inodes` is 0 where there is no bound."""

    path: _Words
    total: _Count
    free: _Count
    inodes: _Count
    inodes_free: _Count
    read_only: bool


class Memory(_Told):
    """Bytes."""

    total: _Count
    available: _Count


class Look(_Told):
    """How a node is. `releases` and `ready` are by role; moments are seconds since 1970."""

    now: float
    releases: dict[str, _Words | None] = Field(max_length=8)
    units: dict[str, _Words] = Field(max_length=64)
    ready: dict[str, Readiness] = Field(max_length=8)
    certificate_ends: float | None
    renewal: _Words | None
    disks: tuple[Disk, ...] = Field(max_length=16)
    mounted: bool
    memory: Memory
    uptime: float
    debian: _Words
    trouble: tuple[_Words, ...] = Field(max_length=64)


class Seen(_Told):
    """A look at a node, or why there is none; `asked_at` and `answered_at` are this computer's
    clock around it, in seconds since 1970."""

    node_id: str
    look: Look | None
    unreached: str | None
    asked_at: float
    answered_at: float

    @property
    def clock_off(self) -> float | None:
        """Seconds that the node's clock is surely ahead of this computer's; negative: behind."""
        if self.look is None:
            return None
        if self.look.now > self.answered_at:
            return self.look.now - self.answered_at
        return min(0.0, self.look.now - self.asked_at)


def services(site: Site, node_id: str) -> tuple[str, ...]:
    """The units that have to run on this node, nginx among them."""
    return (
        "nginx",
        *(["portside-firewall"] if site.cluster.firewall.mode == "on" else []),
        *(name for role in site.cluster.roles_of(node_id) for name in PROGRAMS[role].services),
    )


def look_at(site: Site, node_ids: Sequence[str]) -> dict[str, Seen]:
    """Look at each of these nodes, all at once."""
    program = _PROGRAM.read_text(encoding="utf-8")
    # Each node is asked about what its own roles bring, so each has a line of its own.
    kinds: dict[str, list[str]] = {}
    for node_id in node_ids:
        kinds.setdefault(json.dumps(_question(site, node_id)), []).append(node_id)
    seen: dict[str, Seen] = {}
    for question, alike in kinds.items():
        asked_at = time.time()
        answers = nodes.ask(site, alike, nodes.python(question), program)
        seen |= _read(answers, asked_at, time.time())
    return {node_id: seen[node_id] for node_id in node_ids}


def _question(site: Site, node_id: str) -> Mapping[str, object]:
    """What looking.py is asked on this node."""
    roles = site.cluster.roles_of(node_id)
    storage = "storage" in roles
    root = str(site.cluster.uploads.root)
    return {
        "currents": {role: PROGRAMS[role].current for role in roles},
        "units": services(site, node_id),
        "ports": {
            role: CONTROL_PORT_BESIDE_STORAGE if role == "control" and storage else 443
            for role in roles
        },
        "certificate": CERTIFICATE,
        "places": [*([root] if storage else []), "/"],
        "marker": f"{root}/{MARKER}" if storage else None,
    }


def _read(
    answers: Mapping[str, nodes.Answer], asked_at: float, answered_at: float
) -> dict[str, Seen]:
    seen = {}
    for node_id, answer in answers.items():
        look, unreached = None, None if answer.ok else answer.trouble
        if answer.ok:
            try:
                look = Look.model_validate_json(answer.out)
            except ValidationError as error:
                first = error.errors(include_input=False)[0]
                where = ".".join(map(str, first["loc"])) or "its answer"
                unreached = f"{node_id}: what it says can't be read: {where}: {first['msg']}"
        seen[node_id] = Seen(
            node_id=node_id,
            look=look,
            unreached=unreached,
            asked_at=asked_at,
            answered_at=answered_at,
        )
    return seen
