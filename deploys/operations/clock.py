"""A clock that is years off set right, before apt and TLS look at it.

A VPS that was restored from an image, or whose host has no clock, can be anywhere. apt takes no
lists from the future, certificates aren't valid yet, and the time server may be out of reach.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import timedelta

from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys.hosts.clock import Clock, ClockState

TOLERATED = 60.0
"""Seconds. The answer itself takes one or two, and nothing of Portside minds a minute."""

NTP_PATIENCE = 15
"""Seconds for a time server to answer after its client was started anew."""

KEEPERS = ("systemd-timesyncd", "chrony", "ntpsec", "openntpd")
"""Who keeps a Debian's time: packages and units alike, the one first that a node gets."""


@operation()
def clock_right() -> Generator[str]:
    """The node's clock within a minute of the operator's: by a time server, else by the operator's.

    What can't be mended from here is said, and the run goes on.
    """
    found = host.get_fact(Clock)
    now = time.time()
    if found is None or abs(found.seconds - now) <= TOLERATED:
        return
    wrong = complaint(found, now)
    if wrong is not None:
        host.log(wrong)
        return
    host.log(f"its clock is {_off(found, now)}: asking a time server, else taking this computer's")
    yield set_clock(now)


def complaint(found: ClockState, now: float) -> str | None:
    """Why a clock that differs isn't to be set from here, if so."""
    if found.kept:
        return (
            f"its clock, which a time server keeps, is {_off(found, now)}: it is this computer's "
            "that is wrong; certificates are judged by it"
        )
    if found.container:
        return (
            f"its clock is {_off(found, now)}, and in a container can't be set: set that of the "
            "machine underneath"
        )
    return None


def set_clock(now: float) -> str:
    """Shell: let whoever keeps the time ask anew; if nobody answers, set the time given."""
    return (
        f"begun=$(cut -d. -f1 /proc/uptime); for keeper in {' '.join(KEEPERS)}; do "
        "if systemctl is-active --quiet $keeper; then systemctl restart $keeper; "
        f"for attempt in $(seq {NTP_PATIENCE}); do "
        '[ "$(timedatectl show --property NTPSynchronized --value)" = yes ] && exit 0; sleep 1; '
        "done; fi; done; "
        f"date --set=@$(( {now:.0f} + $(cut -d. -f1 /proc/uptime) - begun )) >/dev/null && "
        # So that it is right after a boot as well; not every VPS has a hardware clock.
        "{ hwclock --systohc 2>/dev/null || true; }"
    )


def _off(found: ClockState, now: float) -> str:
    seconds = found.seconds - now
    amount = timedelta(minutes=round(abs(seconds) / 60))
    return f"{amount} {'ahead' if seconds > 0 else 'behind'}"
