"""Figures of provisioning: ratios of one round, and promises that can be broken."""

from __future__ import annotations

from bench.provision.report import MITOGEN, OURS, PLAIN, Figures, Run, ratios, rows, verdicts


def figures(plain: float = 40, mitogen: float = 8, commands: int = 5, first: float = 60) -> Figures:
    runs = {
        OURS: [Run(4, commands), Run(8, commands)],
        PLAIN: [Run(plain, 200), Run(plain * 2, 200)],
        MITOGEN: [Run(mitogen, 3), Run(mitogen * 2, 3)],
    }
    return Figures({"s1": first, "s2": 50}, {0: runs}, load=1)


def kept(found: Figures) -> list[bool]:
    return [each.met for each in verdicts(found)]


def test_a_ratio_is_of_the_runs_of_one_round() -> None:
    assert ratios(figures().runs[0], PLAIN) == [10, 10]


def test_every_promise_can_be_broken() -> None:
    assert kept(figures()) == [True, True, True, True]
    assert kept(figures(first=91)) == [False, True, True, True]
    assert kept(figures(plain=31)) == [True, False, True, True]
    assert kept(figures(mitogen=3.9)) == [True, True, False, True]
    assert kept(figures(commands=13)) == [True, True, True, False]


def test_a_row_has_the_spread_beside_the_median() -> None:
    assert rows(figures())[1] == [PLAIN, "0 ms", *("60.0", "40.0", "80.0"), *["10.0"] * 3, "200"]
