"""How much of a node's Debian the deploy tightens, beside what is Portside's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

LEVELS = ("off", "standard", "strict")


def _word(value: Any) -> Any:
    """YAML 1.1 reads `off` as false; `on`, `yes` and `true` say no level."""
    if value is False:
        return "off"
    if value not in LEVELS:
        raise ValueError(
            f"must be one of {', '.join(LEVELS)} (docs/hardening.md has what each does)"
        )
    return value


Hardening = Annotated[Literal["off", "standard", "strict"], BeforeValidator(_word)]
"""`off` leaves Debian as it is, `standard` takes nothing from a node, `strict` is for nodes that do
nothing else."""
