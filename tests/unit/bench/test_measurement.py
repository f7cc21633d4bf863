"""Medians and ratios: one slow round must not decide a comparison."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.measurement import Run, Summary, median_ratio, summarise
from bench.promises import verdicts

_RUN = Run(
    seconds=1.0, wait=0.01, nginx_cpu=0.5, backend_cpu=1.0, client_cpu=0.1, peak_memory=50_000_000
)


def _runs(*seconds: float) -> list[Run]:
    return [replace(_RUN, seconds=each) for each in seconds]


def test_a_ratio_is_taken_round_by_round() -> None:
    # The second round was slow for everyone: the ratio of the medians would be 4.
    assert median_ratio(_runs(2.0, 20.0, 4.0), _runs(1.0, 10.0, 1.0)) == 2.0


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        median_ratio(_runs(1.0, 2.0), _runs(1.0))


def test_a_summary_holds_medians_and_the_highest_memory() -> None:
    runs = [
        replace(_RUN, seconds=3.0, wait=0.03, peak_memory=1),
        replace(_RUN, seconds=1.0, wait=0.50, peak_memory=3),
        replace(_RUN, seconds=2.0, wait=0.02, peak_memory=2),
    ]
    summary = summarise(runs, None, None, 2_000_000_000)
    assert summary == Summary(
        seconds=2.0,
        best=1.0,
        ratio=None,
        ratio_to_ours=None,
        wait=0.03,
        server_cpu_per_gb=0.75,
        nginx_cpu_per_gb=0.25,
        client_cpu_per_gb=0.05,
        peak_memory=3,
    )


def test_a_summary_compares_with_the_measure_and_with_our_own() -> None:
    summary = summarise(_runs(3.0, 6.0), _runs(1.0, 2.0), _runs(2.0, 4.0), 2_000_000_000)
    assert (summary.ratio, summary.ratio_to_ours) == (3.0, 1.5)


def _kept(ours: Summary, tus: Summary) -> list[bool]:
    return [verdict.met for verdict in verdicts({"ours": ours, "tus-node": tus})]


_OURS = Summary(
    seconds=2.0,
    best=2.0,
    ratio=2.2,
    ratio_to_ours=1.0,
    wait=0.050,
    server_cpu_per_gb=1.0,
    nginx_cpu_per_gb=0.5,
    client_cpu_per_gb=0.1,
    peak_memory=79_999_999,
)
_SLOWER = replace(_OURS, seconds=2.1)


def test_promises_are_met_up_to_their_bounds() -> None:
    assert _kept(_OURS, _SLOWER) == [True, True, True, True]


@pytest.mark.parametrize(
    ("ours", "broken"),
    [
        (replace(_OURS, ratio=2.21), 0),
        (replace(_OURS, seconds=2.1), 1),
        (replace(_OURS, wait=0.051), 2),
        (replace(_OURS, peak_memory=80_000_000), 3),
    ],
)
def test_each_promise_can_be_broken(ours: Summary, broken: int) -> None:
    assert [met for met in enumerate(_kept(ours, _SLOWER)) if not met[1]] == [(broken, False)]


@pytest.mark.parametrize(("ratio", "met"), [(1.15, True), (1.16, False)])
def test_a_resumable_upload_is_held_against_our_own_put(ratio: float, met: bool) -> None:
    resumable = replace(_OURS, ratio_to_ours=ratio)
    found = verdicts({"ours": _OURS, "ours-tus": resumable})
    assert [each.met for each in found if each.promise.startswith("resumable")] == [met]


def test_without_our_own_figures_nothing_is_promised() -> None:
    assert verdicts({"tus-node": _SLOWER}) == []
