"""What the control plane bench says of its figures."""

from __future__ import annotations

from dataclasses import replace

from bench.control_report import Figures, Run, Step, markdown, rows, sustained, verdicts
from bench.machine import Machine

CORES = {"web": 0.5, "worker": 0.1, "database": 0.0, "clients": 0.2}


def step(rate: float | None, slow: float = 0.010, failures: tuple[str, ...] = ()) -> Step:
    return Step(rate, 2.0, [0.004] * 98 + [slow] * 2, [0.003] * 10, CORES, failures)


def figures(*steps: Step) -> Figures:
    return Figures(
        nodes=1000,
        files=1_000_000,
        copies=2,
        every=15.0,
        connections=16,
        clients=2,
        beating=8,
        threads=16,
        rounds=1,
        runs={"sqlite": Run(40.0, 1.5, steps)},
    )


def test_each_rate_has_a_row() -> None:
    both = rows(Run(1.0, 0.0, [step(50), step(None)]))
    assert both[0] == [
        *("50 a second", "50", "4.0 ms", "10.0 ms", "10.0", "10.0 ms"),
        *("5", "3.0 ms", "3.0 ms"),
        *("0.50", "0.10", "0.00", "0.20", "0"),
    ]
    assert both[1][0] == "as fast as it goes"


def test_of_rounds_the_median_counts_the_worst_is_told_and_failures_are_summed() -> None:
    rounds = [step(200, 0.010), step(200, 0.200, ("503",)), step(200, 0.012)]
    (row,) = rows(Run(1.0, 0.0, rounds))
    assert row[2:6] == ["4.0 ms", "12.0 ms", "10.0 200.0 12.0", "200.0 ms"]
    assert row[-1] == "1"
    assert sustained(Run(1.0, 0.0, [step(200, 0.010), step(200, 0.200), step(200, 0.012)])) == 200
    assert sustained(Run(1.0, 0.0, [step(200, 0.010), step(200, 0.200), step(200, 0.100)])) is None


def test_a_step_without_one_good_answer_has_a_row_too() -> None:
    none = Step(50, 2.0, [], [], CORES, ["503"])
    assert rows(Run(1.0, 0.0, [none]))[0][1:9] == ["0", "-", "-", "-", "-", "0", "-", "-"]


def test_a_rate_is_sustained_when_it_and_all_below_kept_the_time_without_a_failure() -> None:
    assert sustained(Run(1, 0, [step(50), step(100), step(200, 0.030), step(None)])) == 100
    assert sustained(Run(1, 0, [step(50), step(100, 0.030), step(200)])) == 50
    assert sustained(Run(1, 0, [step(50), step(100, failures=("503",))])) == 50
    assert sustained(Run(1, 0, [step(50, 0.030)])) is None


def test_the_promise_is_held_against_200_a_second() -> None:
    assert [each.met for each in verdicts(figures(step(100, 0.030), step(200)))] == [True]
    assert [each.met for each in verdicts(figures(step(200, 0.026)))] == [False]
    assert [each.met for each in verdicts(figures(step(200, failures=("503",))))] == [False]
    assert [each.met for each in verdicts(figures(replace(step(200), sessions=[])))] == [False]
    assert verdicts(figures(step(100))) == []


def test_the_record_names_machine_load_figures_and_verdicts() -> None:
    text = markdown(Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0"), figures(step(200)))
    for expected in (
        "1000 nodes' heartbeats and sessions with 1000000 files",
        "- 2 cores",
        "sqlite: filled in 40 s, load 1.5",
        "| 200 a second | 50 | 4.0 ms | 10.0 ms | 10.0 |",
        "met: sqlite: 99 of 100 sessions",
    ):
        assert expected in text
