"""Which hooks a file has, what they are sent, and what follows an attempt."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.index.files import Delivery
from agent.outbox import events
from agent.outbox.events import DONE, SCHEDULE, Outcome, after, answered
from agent.outbox.retry import LONGEST_ERROR, Following
from portside.names import CANARY
from portside.tokens import SigningKey, TokenRefused, mint_hook, verify_hook
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook, HookEvent
from portside.wire.keys import Keyset

EVERY = Hook(namespace="*", url="https://app.example.net/portside")
IMAGES = Hook(namespace="images", command=("/usr/local/bin/variants", "--webp"))
NOW = 1_800_000_000
MOMENT = datetime.fromtimestamp(NOW, UTC)

STORED = StoredFile(
    file_id="1" * 32,
    node_id="s01",
    namespace="images",
    owner="user-7",
    name="a.png",
    path=PurePosixPath("images/a.png"),
    url=f"https://c01.portside.test/f/{'1' * 32}/a.png",
    direct_url="https://s01.portside.test/uploads/images/a.png",
    size=3,
    sha256="0" * 64,
    content_type="image/png",
    committed_at=MOMENT,
    receipt="",
)


URLS = (
    f"https://c01.portside.test/f/{'1' * 32}/a.png",
    "https://s01.portside.test/uploads/images/a.png",
    f"https://s01.portside.test/f/{'1' * 32}/a.png",
    f"https://s01.portside.test/api/v1/files/{'1' * 32}/content",
)
"""Where STORED is served from."""


def test_a_namespace_has_its_own_hooks_and_those_of_every_one() -> None:
    assert events.hooks_for([EVERY, IMAGES], "images") == [EVERY, IMAGES]
    assert events.hooks_for([EVERY, IMAGES], "isos") == [EVERY]
    assert events.hooks_for([IMAGES], "isos") == []


def test_no_hook_hears_of_a_file_by_which_a_node_is_tried_out() -> None:
    assert events.hooks_for([EVERY], CANARY) == []


def test_a_file_is_delivered_to_each_target_once() -> None:
    again = Hook(namespace="images", url=EVERY.url)
    assert events.deliveries_for([EVERY, again, IMAGES], "images") == [
        Delivery("webhook", "https://app.example.net/portside"),
        Delivery("command", "/usr/local/bin/variants --webp"),
    ]


def test_who_wants_to_hear_of_deletions_alone_hears_of_them_alone() -> None:
    purge = Hook(namespace="images", events=("deleted",), url="https://cdn.example.net/purge")
    both = Hook(namespace="*", events=("committed", "deleted"), command=("/bin/note",))
    hooks = [EVERY, purge, both]
    assert [each.target for each in events.deliveries_for(hooks, "images")] == [
        EVERY.target,
        both.target,
    ]
    deliveries = events.deliveries_for(hooks, "images", "deleted")
    assert deliveries == [
        Delivery("webhook-deleted", purge.target),
        Delivery("command-deleted", both.target),
    ]
    for hook, each in zip((purge, both), deliveries, strict=True):
        assert events.find_hook(hooks, "images", each.kind, each.target) == hook
        assert events.occasion_of(each.kind) == "deleted"
    assert events.find_hook(hooks, "images", "webhook", purge.target) is None
    assert events.find_hook(hooks, "images", "webhook-deleted", EVERY.target) is None


def test_commands_whose_words_differ_have_different_targets() -> None:
    one, two = Hook(namespace="*", command=("a b",)), Hook(namespace="*", command=("a", "b"))
    assert one.target != two.target


def test_a_delivery_finds_its_hook_until_the_settings_lose_it() -> None:
    found = events.find_hook([EVERY, IMAGES], "images", "command", IMAGES.target)
    assert found == IMAGES
    assert events.find_hook([EVERY], "images", "command", IMAGES.target) is None
    assert events.find_hook([IMAGES], "isos", "command", IMAGES.target) is None


def test_ids_of_deliveries_differ_by_file_kind_and_target() -> None:
    ids = {
        events.public_id(file_id, kind, target)
        for file_id in ("1" * 32, "2" * 32)
        for kind in ("command", "webhook")
        for target in ("a", "b")
    }
    assert len(ids) == 8
    assert events.public_id("1" * 32, "command", "a") in ids


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_is_one(status: int) -> None:
    assert answered(status) == DONE


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 409, 429, 500, 503])
def test_anything_else_failed_redirects_too(status: int) -> None:
    assert answered(status) == Outcome("failed", f"answered {status}")


def test_gone_is_hopeless() -> None:
    assert answered(410).result == "hopeless"


def test_a_delivery_that_is_made_leaves_nothing() -> None:
    assert after(DONE, 1, NOW, 0.5) is None


def test_a_failure_is_tried_again_until_the_last_attempt() -> None:
    failed = Outcome("failed", "answered 500")
    for attempt in range(1, SCHEDULE.most):
        following = after(failed, attempt, NOW, 1.0)
        assert following is not None
        assert (following.state, following.attempts) == ("WAITING", attempt)
        assert following.due > NOW
    last = after(failed, SCHEDULE.most, NOW, 1.0)
    assert last == Following("DEAD", SCHEDULE.most, NOW, "answered 500")


def test_the_hopeless_is_given_up_at_once() -> None:
    assert after(answered(410), 1, NOW, 0.5) == Following(
        "DEAD", 1, NOW, "answered 410: the receiver wants no more of these"
    )


def test_pauses_double_from_30_seconds_to_6_hours() -> None:
    failed = Outcome("failed")
    found = [after(failed, attempt, NOW, 1.0) for attempt in range(1, 13)]
    longest = [following.due - NOW for following in found if following]
    assert longest == [30 * 2**n for n in range(10)] + [21600, 21600]


@given(attempt=st.integers(1, SCHEDULE.most - 1), chance=st.floats(0, 1))
def test_a_pause_is_anything_up_to_its_longest(attempt: int, chance: float) -> None:
    following = after(Outcome("failed"), attempt, NOW, chance)
    assert following is not None
    assert 1 <= following.due - NOW <= 6 * 3600


def test_a_long_error_is_cut() -> None:
    following = after(Outcome("failed", "x" * 10_000), 1, NOW, 0.5)
    assert following is not None
    assert len(following.error) == LONGEST_ERROR


def test_a_command_is_told_of_the_file_and_nothing_of_the_workers() -> None:
    told = events.environment(
        STORED, "committed", Path("/srv/portside/uploads/images/a.png"), "d1", 3
    )
    assert dict(told) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "PORTSIDE_EVENT": "file.committed",
        "PORTSIDE_NODE_ID": "s01",
        "PORTSIDE_NAMESPACE": "images",
        "PORTSIDE_FILE_ID": "1" * 32,
        "PORTSIDE_FILE": "/srv/portside/uploads/images/a.png",
        "PORTSIDE_SURROGATE_KEY": f"{'1' * 32} images",
        "PORTSIDE_URLS": " ".join(URLS),
        "PORTSIDE_DELIVERY_ID": "d1",
        "PORTSIDE_ATTEMPT": "3",
    }


def test_a_webhooks_body_says_what_happened_to_which_file() -> None:
    body = events.event(STORED, "committed", "d" * 32, 2)
    told = json.loads(body)
    assert {key: told[key] for key in told if key != "file"} == {
        "event": "file.committed",
        "delivery_id": "d" * 32,
        "node_id": "s01",
        "attempt": 2,
        "surrogate_key": f"{'1' * 32} images",
        "urls": list(URLS),
    }
    assert HookEvent.model_validate_json(body).file == STORED


class TestSignature:
    key = SigningKey.generate("s01")
    keys = Keyset(keys=(key.public(),))
    body = events.event(STORED, "committed", "d" * 32, 1)
    origin = "https://app.example.net"

    def _token(self, url: str = EVERY.url or "", now: int = NOW) -> str:
        return mint_hook(self.key, events.claims("s01", url, "d" * 32, self.body, now))

    def test_a_receiver_learns_who_sent_what(self) -> None:
        claims = verify_hook(self._token(), self.keys, self.origin, self.body, MOMENT)
        assert (claims.iss, claims.jti) == ("s01", "d" * 32)
        assert claims.sha256 == hashlib.sha256(self.body).hexdigest()

    @pytest.mark.parametrize(
        ("token", "body", "origin", "after", "code"),
        [
            ("own", b"other", origin, 0, "token-claims"),
            ("own", body, "https://evil.example.net", 0, "token-claims"),
            ("own", body, origin, 360, "token-expired"),
            ("own", body, origin, -61, "token-not-yet-valid"),
            ("foreign", body, origin, 0, "token-unknown-key"),
            ("receipt", body, origin, 0, "token-type"),
        ],
    )
    def test_anything_else_is_refused(
        self, token: str, body: bytes, origin: str, after: int, code: str
    ) -> None:
        claims = events.claims("s01", EVERY.url or "", "d" * 32, self.body, NOW)
        tokens = {
            "own": self._token(),
            "foreign": mint_hook(SigningKey.generate("s01"), claims),
            "receipt": self.key.sign("receipt+jwt", claims.model_dump()),
        }
        with pytest.raises(TokenRefused) as refused:
            verify_hook(tokens[token], self.keys, origin, body, MOMENT + timedelta(seconds=after))
        assert refused.value.code == code

    def test_a_signature_counts_for_five_minutes_and_a_clocks_difference(self) -> None:
        verify_hook(
            self._token(), self.keys, self.origin, self.body, MOMENT + timedelta(seconds=359)
        )


def test_a_urls_query_is_not_shown() -> None:
    assert events.shown("webhook", "https://a.example/x?key=secret") == "https://a.example/x"
    assert events.shown("command", "what? now") == "what? now"
