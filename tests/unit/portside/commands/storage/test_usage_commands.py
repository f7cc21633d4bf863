"""`portside usage`: what it asks the control plane, and what it makes of it."""

from __future__ import annotations

import json

import pytest

from portside.wire.status import CountedShare, UsageView
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble

GIB = 1 << 30

USAGE = [
    UsageView(
        app_id="shop",
        owner="alice\x1b[31m",
        bytes=CountedShare(limit=10 * GIB, used=9 * GIB, left=GIB, promised=2 * GIB),
        files=CountedShare(limit=None, used=12, left=None, promised=1),
    ),
    *(
        UsageView(
            app_id=None,
            owner=f"user-{number}",
            bytes=CountedShare(limit=0, used=5, left=0, promised=0),
            files=CountedShare(limit=7, used=1, left=6, promised=0),
        )
        for number in range(3)
    ),
]


@pytest.fixture
def control(logged_in: ControlDouble) -> ControlDouble:
    logged_in.usage = USAGE
    return logged_in


def test_who_has_how_much_is_listed(control: ControlDouble) -> None:
    run = Run("usage", "--limit", "2")
    head, first, second = run.out.splitlines()
    assert " ".join(head.split()) == "app owner bytes of left files of left promised"
    assert "\x1b" not in first
    assert first.split()[2:6] == ["9.0", "GiB", "10.0", "GiB"]
    assert first.split()[6:] == ["1.0", "GiB", "12", "-", "-", "2.0", "GiB"]
    assert second.split() == ["-", "user-0", "5", "B", "0", "B", "0", "B", "1", "7", "6", "0", "B"]
    assert "there are more" in run.err
    assert control.asked("GET", "/api/v1/usage") == [{"of": "owners", "limit": "2"}]


def test_pages_follow_one_another_and_what_is_asked_for_is_passed_on(
    control: ControlDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portside.commands.storage.usage.PAGE", 3)
    run = Run("usage", "--all", "--json", "--owner", "alice", "--app", "shop", "--apps")
    assert [json.loads(line) for line in run.out.splitlines()] == [
        each.model_dump(mode="json") for each in USAGE
    ]
    assert run.err == ""
    asked = {"owner": "alice", "app": "shop", "of": "apps", "limit": "3"}
    assert control.asked("GET", "/api/v1/usage") == [asked, {**asked, "cursor": "3"}]


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("a/b", "--bytes", "10GiB"), ("PUT", "owners/a%2Fb", {"bytes": 10 * GIB})),
        (("bob", "--files", "unlimited"), ("PUT", "owners/bob", {"files": None})),
        (
            ("--app", "shop", "--bytes", "Unlimited", "--files", "0"),
            ("PUT", "apps/shop", {"bytes": None, "files": 0}),
        ),
    ],
)
def test_a_quota_is_set(
    control: ControlDouble, words: tuple[str, ...], sent: tuple[str, str, dict[str, int | None]]
) -> None:
    run = Run("usage", "set", *words, "--json")
    assert run.code == 0, run.err
    method, path, _, body = control.requests[-1]
    assert (method, path, json.loads(body)) == (sent[0], f"/api/v1/quotas/{sent[1]}", sent[2])
    assert json.loads(run.out)["set"] == sorted(sent[2])


def test_a_quota_is_unset_and_what_is_in_force_is_said(control: ControlDouble) -> None:
    run = Run("usage", "unset", "bob")
    assert (run.code, control.requests[-1][:2]) == (0, ("DELETE", "/api/v1/quotas/owners/bob"))
    assert "owner bob: bytes unlimited, files unlimited" in run.err


@pytest.mark.parametrize(
    "words",
    [
        ("bob",),
        ("--bytes", "1GiB"),
        ("bob", "--app", "shop", "--bytes", "1GiB"),
        ("bob", "--bytes", "1,5GiB"),
        ("bob", "--files", "-1"),
        ("bob", "--files", "many"),
    ],
)
def test_what_cant_be_meant_is_wrong_usage(control: ControlDouble, words: tuple[str, ...]) -> None:
    assert Run("usage", "set", *words).code == 2
    assert control.requests == []
