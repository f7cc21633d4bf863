"""What becomes of an alert from one look to the next: begun, told, told again, ended. Pure.

An alert is told once it has held for as long as the catalogue says, again after a day if it lasts,
and once more at its end. One that comes and goes within minutes is told once: it has ended only
when it was away for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from control.alerts.judgement import Finding
from portside.alerting.catalogue import Alert
from portside.alerting.message import AlertState, ToldAlert

QUIET = timedelta(minutes=5)
"""For how long a condition must be false until its alert has ended."""

LONGEST_DETAIL = 500

Key = tuple[str, str]
"""Name and subject."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One alert whose condition is true, or was a moment ago."""

    began_at: datetime
    detail: str
    told_at: datetime | None = None
    """None: it hasn't held for long enough."""
    quiet_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What stands from now on, and what is to be told."""

    standing: Mapping[Key, Standing]
    told: tuple[ToldAlert, ...]


def settle(
    before: Mapping[Key, Standing],
    findings: Iterable[Finding],
    catalogue: Mapping[str, Alert],
    now: datetime,
    repeat: timedelta,
) -> Outcome:
    """From what stood before and what was found now. What nobody speaks of any more has ended."""
    found = {(each.name, each.subject): each for each in findings}
    standing: dict[Key, Standing] = {}
    told: list[ToldAlert] = []
    for key in dict.fromkeys((*before, *found)):
        alert, finding, last = catalogue.get(key[0]), found.get(key), before.get(key)
        if alert is None:
            # Of another release: nobody judges it any more.
            continue
        if finding is not None and finding.holds is None:
            if last is not None:
                standing[key] = last
            continue
        if finding is not None and finding.holds:
            standing[key], state = _while_it_holds(last, finding, alert, now, repeat)
        elif last is not None and last.told_at is not None:
            quiet = min(last.quiet_since or now, now)
            state = "ended" if now - quiet >= QUIET else None
            if state is None:
                standing[key] = replace(last, quiet_since=quiet)
        else:
            continue
        if state is not None:
            kept = standing.get(key) or last
            assert kept is not None  # noqa: S101 (what is told stands now, or stood before)
            told.append(_told(alert, key[1], kept, state, now))
    return Outcome(standing, tuple(told))


def _while_it_holds(
    last: Standing | None, finding: Finding, alert: Alert, now: datetime, repeat: timedelta
) -> tuple[Standing, AlertState | None]:
    detail = finding.detail[:LONGEST_DETAIL]
    if last is None:
        last = Standing(now, detail)
    # A clock that was set back leaves no moment in the future to be waited for.
    held = replace(last, began_at=min(last.began_at, now), detail=detail, quiet_since=None)
    if held.told_at is None:
        if (now - held.began_at).total_seconds() < alert.hold:
            return held, None
        return replace(held, told_at=now), "began"
    if now - held.told_at >= repeat:
        return replace(held, told_at=now), "lasts"
    return replace(held, told_at=min(held.told_at, now)), None


def _told(
    alert: Alert, subject: str, kept: Standing, state: AlertState, now: datetime
) -> ToldAlert:
    return ToldAlert(
        name=alert.name,
        node_id=subject or None,
        state=state,
        severity=alert.severity,
        meaning=alert.meaning,
        detail=kept.detail,
        began_at=kept.began_at,
        ended_at=now if state == "ended" else None,
        runbook=alert.runbook,
    )
