"""Every alert: what it means, from when it holds, how urgent it is, and where to read on.

Told in two ways by the same bounds: `templates/prometheus/alerts.yml.j2` asks Prometheus,
`control.alerts` judges by heartbeats and the database. `docs/runbook.md` has a section for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from portside.tokens import LEEWAY

Severity = Literal["critical", "warning"]
"""`critical`: data or uploads are in danger now, somebody is to be woken. `warning`: it will be, or
is served worse; the next working day will do."""

Teller = Literal["both", "prometheus"]
"""`prometheus`: the control plane can't know, or can't tell while it is so."""

MINUTE, HOUR, DAY = 60, 3600, 86400
MEGABYTE = 1_000_000

RUNBOOK = "docs/runbook.md"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `threshold` and `because` are for people; numbers are in `Bounds`."""

    name: str
    """In kebab case: also its anchor in the runbook."""
    meaning: str
    """In one sentence, without the node's name."""
    severity: Severity
    hold: int
    """Seconds for which the condition has to be true, so that what passes by itself is not told."""
    threshold: str
    because: str
    """Why there, and not elsewhere."""
    told_by: Teller = "both"

    @property
    def rule(self) -> str:
        """Its name for Prometheus."""
        return "Portside" + "".join(part.capitalize() for part in self.name.split("-"))

    @property
    def runbook(self) -> str:
        """Where to read what to do."""
        return f"{RUNBOOK}#{self.name}"


@dataclass(frozen=True, slots=True)
class Burn:
    """One pair of windows of a burn rate: it holds while both are above `factor`."""

    name: str
    severity: Severity
    factor: float
    long: int
    """Seconds: long enough that so much of the budget is really gone."""
    short: int
    """A twelfth of it: so that the alert ends soon after the trouble does."""
    budget: float
    """The share of a month's budget that is gone when it holds for the first time."""


BURNS = (
    Burn("slo-burn-fast", "critical", 14.4, HOUR, 5 * MINUTE, 0.02),
    Burn("slo-burn", "critical", 6, 6 * HOUR, 30 * MINUTE, 0.05),
    Burn("slo-burn-slow", "warning", 1, 3 * DAY, 6 * HOUR, 0.10),
)
"""Those that Google's SRE workbook recommends for 99.9 % in 30 days (chapter 5, table 5-8)."""


@dataclass(frozen=True)
class Bounds:
    """The numbers, in shares, bytes and seconds; those without a default are the cluster file's."""

    dead_after: int
    repair_after: int
    scrub_every: int

    memory_used: float = 0.8
    memory_available: int = 500 * MEGABYTE
    memory_share: float = 0.25
    """Of the memory of a node that is so small that the above would be more than this."""
    failures: float = 0.2
    failures_over: int = 15 * MINUTE
    failures_least: int = 10
    """Uploads in that time, fewer say nothing."""
    disk_left: float = 0.1
    disk_full_in: int = 3 * DAY
    disk_seen_for: int = 6 * HOUR
    inodes_left: float = 0.1
    certificate_share: float = 0.25
    certificate_left: int = 21 * DAY
    certificate_last_share: float = 0.1
    certificate_last: int = 3 * DAY
    clock: int = LEEWAY
    replication: int = HOUR
    scrub_factor: float = 1.5
    damage_over: int = DAY
    backup: int = 3 * HOUR
    worker_silent: int = 5 * MINUTE
    burn_least: int = 3
    """Broken uploads in the longer window: with few uploads a single one is a large share."""
    objective: float = 0.999
    """Of accepted uploads: brought to their end."""

    @property
    def scrub_age(self) -> int:
        """From when a reading is overdue."""
        return int(self.scrub_every * self.scrub_factor)

    @property
    def error_budget(self) -> float:
        """The share of accepted uploads that may fail by the node's fault."""
        return round(1 - self.objective, 9)

    @cached_property
    def catalogue(self) -> Mapping[str, Alert]:
        """Every alert by its name."""
        alerts = (*_of_machine(self), *_of_node(self), *_of_cluster(self), *_of_burn(self))
        return {alert.name: alert for alert in alerts}


def _percent(share: float) -> str:
    return f"{round(100 * share, 3):g} %"


def _time(seconds: int) -> str:
    """In the largest unit that leaves it whole: what is written here are round numbers."""
    for unit, size in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def _of_machine(bounds: Bounds) -> tuple[Alert, ...]:
    return (
        Alert(
            "memory-high",
            "Most of the memory is in use.",
            "warning",
            10 * MINUTE,
            f"more than {_percent(bounds.memory_used)} used",
            "what is left is the page cache that uploads are written through; peaks of an upload's "
            "buffers are over within minutes",
        ),
        Alert(
            "memory-short",
            "So little memory is available that the kernel may soon end a process.",
            "critical",
            5 * MINUTE,
            f"less than {bounds.memory_available // MEGABYTE} MB available, and less than "
            f"{_percent(bounds.memory_share)} of all",
            "an agent that starts anew, certbot and apt need that much beside each other; on nodes "
            "with less than 2 GB it would nearly always hold, so a quarter does there",
        ),
        Alert(
            "uploads-failing",
            "Many uploads fail, whoever's fault it is.",
            "warning",
            10 * MINUTE,
            f"more than {_percent(bounds.failures)} of the last "
            f"{_time(bounds.failures_over)}, of {bounds.failures_least} at least",
            "some are always cut by their clients; of fewer than ten, two would be too many",
        ),
        Alert(
            "disk-nearly-full",
            "The data filesystem has little room left for new uploads.",
            "warning",
            15 * MINUTE,
            f"less than {_percent(bounds.disk_left)} free beside what is promised and kept",
            "below it ext4 and XFS scatter what they write; there is time to add a node",
        ),
        Alert(
            "disk-full-soon",
            "The data filesystem will be full within days if it fills on as it does.",
            "warning",
            HOUR,
            f"full in less than {_time(bounds.disk_full_in)}, by the last "
            f"{_time(bounds.disk_seen_for)}",
            "a weekend, and the day that it takes to order a disk or a node",
        ),
        Alert(
            "inodes-short",
            "The data filesystem has few inodes left: it can't take more files, whatever their "
            "size.",
            "warning",
            15 * MINUTE,
            f"less than {_percent(bounds.inodes_left)} free",
            "each upload takes up to seven (the file, its attributes, new folders)",
        ),
        Alert(
            "certificate-ending",
            "The certificate that nginx serves ends soon, and wasn't renewed.",
            "warning",
            6 * HOUR,
            f"less than {_time(bounds.certificate_left)} left, or than "
            f"{_percent(bounds.certificate_share)} of its life",
            "renewals begin with a third of its life left (half, of less than ten days): by then "
            "some have failed",
        ),
        Alert(
            "certificate-last-days",
            "The certificate that nginx serves is about to end: then nobody can upload or "
            "download.",
            "critical",
            10 * MINUTE,
            f"less than {_time(bounds.certificate_last)} left, or than "
            f"{_percent(bounds.certificate_last_share)} of its life",
            "time for an authority's limits to pass once",
        ),
        Alert(
            "clock-off",
            "The clock differs from the control plane's: tokens are refused, and nothing ends.",
            "critical",
            2 * MINUTE,
            f"more than {bounds.clock} s apart",
            "so much is forgiven in tokens; a step by a time service that starts is over sooner",
        ),
        Alert(
            "system-disk-full",
            "The system's own filesystem is nearly full: logs, packages and the index's temporary "
            "files need it.",
            "warning",
            15 * MINUTE,
            f"less than {_percent(bounds.disk_left)} free",
            "an upgrade of Debian's packages takes a gigabyte",
            told_by="prometheus",
        ),
    )


def _of_node(bounds: Bounds) -> tuple[Alert, ...]:
    return (
        Alert(
            "heartbeat-missing",
            "The control plane doesn't hear the node: its files are soon copied elsewhere.",
            "critical",
            0,
            f"silent for more than {_time(bounds.dead_after)} (control.dead_after)",
            "from then on it gets no uploads; the silence is the waiting already",
        ),
        Alert(
            "replication-late",
            "Copies of new files wait: until they are made, these files are on one node alone.",
            "warning",
            10 * MINUTE,
            f"the oldest has waited for more than {_time(bounds.replication)}",
            "the largest file takes less than that over a line of 200 Mbit/s",
        ),
        Alert(
            "scrub-overdue",
            "Stored files aren't read again as often as they should: damage would be found late.",
            "warning",
            HOUR,
            f"the oldest reading is more than {bounds.scrub_factor:g} times scrub.every ago",
            "a disk full of new files puts the round off by less than half of its length",
        ),
        Alert(
            "damage-found",
            "A stored file no longer is what was uploaded: the disk may be failing.",
            "critical",
            0,
            "any file in the last day",
            "one is never right: what reads wrong today is more tomorrow",
        ),
        Alert(
            "quarantine-waits",
            "Damaged files are kept apart, and nobody has settled what becomes of them.",
            "warning",
            DAY,
            "any file in quarantine",
            "repair brings most of them back from another copy within hours",
        ),
        Alert(
            "node-read-only",
            "The node takes no uploads, and says why.",
            "critical",
            2 * MINUTE,
            "it doesn't accept uploads, though nobody wanted that",
            "a restart of the agent takes seconds, a failed fsync is for good",
        ),
    )


def _of_cluster(bounds: Bounds) -> tuple[Alert, ...]:
    return (
        Alert(
            "copies-short",
            "Files have fewer copies than they should, and repair doesn't bring them.",
            "warning",
            bounds.repair_after + HOUR,
            "any file",
            "a node that is down is waited for (control.repair_after), then its files are copied",
        ),
        Alert(
            "file-without-copy",
            "Files have no copy at all that is known to be good.",
            "critical",
            5 * MINUTE,
            "any file",
            "nothing but a node that comes back, or a backup, brings them back",
        ),
        Alert(
            "backup-old",
            "The control plane's database wasn't backed up for hours.",
            "warning",
            10 * MINUTE,
            f"the newest backup is older than {_time(bounds.backup)}",
            "it is made each hour: two have failed, and the third is due",
        ),
        Alert(
            "replica-late",
            "The running copy of the control plane's database is behind or silent.",
            "warning",
            10 * MINUTE,
            "litestream says that it is behind, or nothing",
            "it catches up with a restart or a short loss of its target by itself",
        ),
        Alert(
            "control-plane-away",
            "The control plane doesn't answer: no new sessions; uploads with tokens, downloads and "
            "copies go on.",
            "critical",
            2 * MINUTE,
            "its /metrics doesn't answer",
            "a deploy's change of processes takes seconds",
            told_by="prometheus",
        ),
        Alert(
            "database-away",
            "The control plane's database doesn't answer: no new sessions.",
            "critical",
            2 * MINUTE,
            "the control plane says so",
            "a restart of PostgreSQL takes less",
            told_by="prometheus",
        ),
        Alert(
            "metrics-missing",
            "A node's numbers can't be read: nothing else here can be judged of it.",
            "critical",
            5 * MINUTE,
            "its /metrics doesn't answer",
            "a restart of the machine takes less",
            told_by="prometheus",
        ),
        Alert(
            "worker-silent",
            "The agent's worker doesn't report: no copies, no scrubbing, no heartbeats.",
            "critical",
            2 * MINUTE,
            f"its last report is more than {_time(bounds.worker_silent)} old",
            "it reports every few seconds",
            told_by="prometheus",
        ),
    )


def _of_burn(bounds: Bounds) -> tuple[Alert, ...]:
    return tuple(
        Alert(
            burn.name,
            f"Accepted uploads fail by the nodes' fault, {burn.factor:g} times as many as "
            f"{_percent(bounds.objective)} allow.",
            burn.severity,
            0,
            f"more than {_percent(burn.factor * bounds.error_budget)} of the last "
            f"{_time(burn.long)} and of the last {_time(burn.short)}, {bounds.burn_least} at least",
            f"{_percent(burn.budget)} of 30 days' budget are gone by then; the windows are the "
            "waiting already",
        )
        for burn in BURNS
    )
