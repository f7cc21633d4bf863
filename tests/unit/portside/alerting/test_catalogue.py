"""Each alert says what it means, and the runbook has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portside.alerting.catalogue import BURNS, Alert, Bounds

ROOT = Path(__file__).parents[4]
CATALOGUE = Bounds(dead_after=90, repair_after=900, scrub_every=30 * 86400).catalogue


def sections() -> dict[str, str]:
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    _, *found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert list(sections()) == list(CATALOGUE)


@pytest.mark.parametrize("alert", CATALOGUE.values(), ids=lambda alert: alert.name)
def test_a_section_says_what_the_alert_says_and_what_to_do(alert: Alert) -> None:
    section = sections()[alert.name]
    assert f"**{alert.meaning}**" in section
    assert f"{alert.severity.capitalize()}: {alert.threshold};" in section
    assert ("told by Prometheus alone" in section) is (alert.told_by == "prometheus")
    # Commands of its own, or another section's.
    assert re.search(r"^    \S", section, re.MULTILINE) or "As for [" in section


@pytest.mark.parametrize("alert", CATALOGUE.values(), ids=lambda alert: alert.name)
def test_an_alert_is_one_plain_sentence_with_a_reason(alert: Alert) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", alert.name)
    assert re.fullmatch(r"[A-Z].+\.", alert.meaning)
    assert ". " not in alert.meaning
    assert alert.because
    assert alert.threshold
    assert alert.runbook == f"docs/runbook.md#{alert.name}"


def test_names_for_prometheus_are_told_apart() -> None:
    assert len({alert.rule for alert in CATALOGUE.values()}) == len(CATALOGUE)
    assert CATALOGUE["slo-burn-fast"].rule == "PortsideSloBurnFast"


def test_windows_spend_what_they_say_of_a_months_budget() -> None:
    """The share of 30 days' budget that is gone when the long window has burnt at its rate."""
    for burn in BURNS:
        assert burn.factor * burn.long / (30 * 86400) == pytest.approx(burn.budget)
        assert burn.short * 12 == burn.long
