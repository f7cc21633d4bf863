"""Makes up the uploads of the load: every way to send a file, every kind of token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from faults.checking.content import Contents
from faults.checking.journal import Attempt, Part, Way
from portside.quantities import MIB
from portside.tokens import mint_upload
from tests.support.agent.process import Agent

_WAYS: dict[Way, int] = {"put": 4, "form": 2, "tus": 4, "parts": 2}
"""How often each way is chosen, relative to the others."""

_LEAST_IN_PARTS = 1 * MIB
_NAMESPACES = ("isos", "photos", "backups")


class Attempts:
    """New attempts: the same for the same seed, but for ids and times. Not thread-safe."""

    def __init__(
        self,
        contents: Contents,
        random: Random,
        more: Callable[[Random], Mapping[str, Any]] = lambda random: {},
    ) -> None:
        """`more` makes up claims of a token that not every load has."""
        self._contents = contents
        self._random = random
        self._more = more

    def next(self, agent: Agent) -> Attempt:
        """Another file to upload to `agent`, with its token."""
        random = self._random
        content = self._contents.next()
        (way,) = random.choices(list(_WAYS), list(_WAYS.values()))
        if way == "parts" and content.size < _LEAST_IN_PARTS:
            way = "tus"
        claims: dict[str, Any] = {
            "namespace": random.choice(_NAMESPACES),
            "layout": random.choice(("dated", "dated", "named")),
        }
        if random.random() < 0.5:
            claims["size"] = content.size
        if random.random() < 0.25:
            claims["sha256"] = content.sha256
        made = agent.claims(**claims, **self._more(random))
        counts = {"tus": 1, "parts": random.randint(2, 4)}
        return Attempt(
            claims=made,
            token=mint_upload(agent.issuer, made),
            name=f"{made.file_id}.bin",
            way=way,
            content=content,
            parts=[Part(piece) for piece in content.split(counts[way])] if way in counts else [],
        )
