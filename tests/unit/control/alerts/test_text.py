"""What people read: the worst first, what is over last, and no more than a message holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from control.alerts import text
from portside.alerting.message import MOST_ALERTS, ToldAlert

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def told(name: str = "memory-high", **changed: Any) -> ToldAlert:
    return ToldAlert.model_validate(
        {
            "name": name,
            "node_id": "s01",
            "state": "began",
            "severity": "warning",
            "meaning": "Most of the memory is in use.",
            "detail": "1.0 GiB of 8.0 GiB available",
            "began_at": NOW - timedelta(hours=2),
            "runbook": f"docs/runbook.md#{name}",
            **changed,
        }
    )


def test_the_worst_comes_first_and_what_is_over_last() -> None:
    message = text.of_alerts(
        "lab",
        [
            told(),
            told("clock-off", severity="critical", state="ended", ended_at=NOW),
            told("file-without-copy", severity="critical", node_id=None, meaning="Lost."),
        ],
        NOW,
    )
    assert [each.name for each in message.alerts] == [
        *("file-without-copy", "memory-high", "clock-off"),
    ]
    first, second, third = message.text.splitlines()
    assert first == "critical: Lost. (1.0 GiB of 8.0 GiB available)"
    assert second.startswith("warning: s01: Most of the memory is in use.")
    assert third.startswith("over: critical: s01:")
    assert third.endswith(", after 2h00m")
    assert text.subject(message) == "[lab] file-without-copy and 2 more"


def test_a_mail_says_what_to_do_once_for_each_kind() -> None:
    message = text.of_alerts("lab", [told(), told(node_id="s02"), told("clock-off")], NOW)
    body = text.body(message)
    assert body.count("docs/runbook.md#memory-high") == 1
    assert body.count("docs/runbook.md#clock-off") == 1


def test_a_thousand_alerts_make_one_message_that_says_so() -> None:
    message = text.of_alerts("lab", [told(node_id=f"s{n}") for n in range(1000)], NOW)
    assert len(message.alerts) == MOST_ALERTS
    assert message.more == 900
    assert text.subject(message).endswith("and 999 more")
    assert len(message.text) <= 4000
    assert message == type(message).model_validate_json(message.model_dump_json())
