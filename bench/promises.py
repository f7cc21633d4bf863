"""What the project promises about uploads, held against a run's figures: met or not met.

Printed, never asserted: a slow or busy machine is no broken program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measurement import Summary

MOST_TIMES_NGINX = 2.2
MOST_TIMES_PUT = 1.15
"""A resumable upload beside a plain one: an offset on disk may cost this much."""
LONGEST_WAIT = 0.050
"""Seconds after the last byte: below what a person notices."""
MOST_MEMORY = 80_000_000
"""Bytes of the agent's web process."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, what was measured, and whether it is kept."""

    promise: str
    measured: str
    met: bool

    def line(self) -> str:
        """For people."""
        return f"{'met' if self.met else 'NOT MET'}: {self.promise} ({self.measured})"


def verdicts(results: Mapping[str, Summary]) -> list[Verdict]:
    """Every promise that these results can decide; none without our own."""
    ours = results.get("ours")
    if ours is None:
        return []
    found = []
    if ours.ratio is not None:
        found.append(
            Verdict(
                f"at most {MOST_TIMES_NGINX} x the time of nginx DAV",
                f"{ours.ratio:.2f} x",
                ours.ratio <= MOST_TIMES_NGINX,
            )
        )
    tus = results.get("ours-tus")
    if tus is not None and tus.ratio_to_ours is not None:
        found.append(
            Verdict(
                f"resumable at most {MOST_TIMES_PUT} x the time of a PUT",
                f"{tus.ratio_to_ours:.2f} x",
                tus.ratio_to_ours <= MOST_TIMES_PUT,
            )
        )
    for peer in ("tus-node", "seaweedfs"):
        if peer in results:
            other = results[peer].seconds
            found.append(
                Verdict(
                    f"faster than {peer}",
                    f"{ours.seconds:.2f} s, {peer} {other:.2f} s",
                    ours.seconds < other,
                )
            )
    found.append(
        Verdict(
            f"answer at most {LONGEST_WAIT * 1000:.0f} ms after the last byte",
            f"{ours.wait * 1000:.0f} ms",
            ours.wait <= LONGEST_WAIT,
        )
    )
    found.append(
        Verdict(
            f"agent under {MOST_MEMORY / 1e6:.0f} MB of RAM",
            f"{ours.peak_memory / 1e6:.0f} MB",
            ours.peak_memory < MOST_MEMORY,
        )
    )
    return found
