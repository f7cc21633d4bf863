"""What of ours is still on a host, links that lead nowhere among it."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from deploys.hosts import facts


class Leftovers(FactBase[list[str]]):
    """Those of the paths at which anything is, in their order."""

    default = list

    def command(self, paths: Sequence[str]) -> str:
        return (
            f"for p in {facts.quoted(paths)}; do "
            "if [ -e $p ] || [ -L $p ]; then echo left $p; fi; done"
        )

    def process(self, output: list[str]) -> list[str]:
        # Whatever a login shell prints is none of it.
        return [line.removeprefix("left ") for line in output if line.startswith("left /")]
