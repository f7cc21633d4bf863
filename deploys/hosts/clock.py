"""What time a node believes it is, beside the operator's clock."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase


@dataclass(frozen=True, slots=True)
class ClockState:
    """`seconds` is Unix time. `kept`: a time server has answered since boot. `container`: the clock
    is that of the machine underneath, and can't be set here."""

    seconds: int
    kept: bool
    container: bool


class Clock(FactBase[ClockState]):
    """The node's clock, and who keeps it."""

    def command(self) -> str:
        return (
            "echo seconds=$(date +%s); "
            # The kernel's own word (adjtimex(2)), whichever program keeps the time.
            '[ "$(timedatectl show --property NTPSynchronized --value 2>/dev/null)" = yes ] && '
            "echo kept=yes; systemd-detect-virt --container --quiet && echo container=yes; true"
        )

    def process(self, output: list[str]) -> ClockState:
        said = dict(line.partition("=")[::2] for line in output)
        try:
            return ClockState(int(said["seconds"]), "kept" in said, "container" in said)
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"its clock can't be read: {error!r}") from None
