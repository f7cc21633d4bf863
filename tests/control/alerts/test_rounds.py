"""What is wrong is noted, told once to everybody who is to be told, and told to be over."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from control.alerts import channels, outbox, store
from control.alerts.courier import Courier
from control.alerts.rounds import AlertRounds
from control.alerts.webhook import NotDelivered, NotWanted
from control.db.database import Database
from control.db.models import AlertNotice, AlertSample, Node
from control.settings import Settings
from control.worker import rounds
from portside.alerting.destinations import Alerts, Mail
from portside.alerting.message import AlertMessage
from portside.tokens import verify_hook
from portside.wire.keys import Keyset
from tests.support.agent.receiver import Receiver
from tests.support.control.core import Core

MAIL = Mail(to=("ops@example.net",), sender="portside@example.net", host="mail.test")
READ_ONLY: dict[str, Any] = {"accepting": False, "reasons": ("disk-failed: an I/O error",)}


def told_to(core: Core, **alerts: Any) -> Settings:
    return core.settings.model_copy(update={"alerts": Alerts(**alerts)})


class Telling:
    """Rounds whose clock the test sets, and the messages that wait."""

    def __init__(self, core: Core, settings: Settings) -> None:
        self.core = core
        self.rounds = AlertRounds(settings, core.database)

    def look(self, minutes: float = 0, each: float = 0.5, **heartbeat: Any) -> None:
        """Look each half minute or so, with a heartbeat of every node before."""
        for _ in range(int(minutes / each) + 1):
            self.core.clock.pass_by(60 * each)
            self.core.all_report(**heartbeat)
            self.rounds.round(self.core.clock.now)

    def waiting(self) -> list[tuple[str, AlertMessage]]:
        rows = self.core.database.read(
            lambda s: s.execute(
                select(AlertNotice.channel, AlertNotice.message).order_by(
                    AlertNotice.created_at, AlertNotice.channel
                )
            ).all()
        )
        return [(channel, AlertMessage.model_validate_json(text)) for channel, text in rows]

    def states(self) -> list[tuple[str, str | None, str]]:
        return [
            (each.name, each.node_id, each.state)
            for channel, message in self.waiting()
            if channel == "webhook"
            for each in message.alerts
        ]


@pytest.fixture
def telling(core: Core) -> Telling:
    return Telling(core, told_to(core, webhook="https://a.test/b", mail=MAIL))


def test_an_alert_is_told_once_each_way_and_so_is_its_end(telling: Telling) -> None:
    telling.look(5)
    assert telling.waiting() == []
    telling.look(3, **READ_ONLY)
    assert sorted(telling.states()) == [
        ("node-read-only", node, "began") for node in ("s01", "s02", "s03")
    ]
    # All in one message, the same on both ways.
    (mail_, mailed), (webhook_, posted) = telling.waiting()
    assert (mail_, webhook_) == ("mail", "webhook")
    assert mailed == posted
    assert "disk-failed: an I/O error" in posted.text
    telling.look(30, each=5, **READ_ONLY)
    assert len(telling.waiting()) == 2
    telling.look(10, each=5)
    assert telling.states()[3:] == [
        ("node-read-only", node, "ended") for node in ("s01", "s02", "s03")
    ]


def test_another_worker_tells_nothing_twice(core: Core, telling: Telling) -> None:
    telling.look(3, **READ_ONLY)
    # One that starts anew knows what the database knows.
    other = Telling(core, told_to(core, webhook="https://a.test/b", mail=MAIL))
    other.look(3, **READ_ONLY)
    assert len(telling.states()) == 3


def test_a_node_that_is_silent_is_told_and_its_other_alerts_stay(telling: Telling) -> None:
    telling.look(3, **READ_ONLY)
    core = telling.core
    for _ in range(8):
        core.clock.pass_by(30)
        core.reports("s02", **READ_ONLY)
        core.reports("s03", **READ_ONLY)
        telling.rounds.round(core.clock.now)
    assert telling.states()[3:] == [("heartbeat-missing", "s01", "began")]
    core.database.write(
        lambda s: s.execute(update(Node).where(Node.node_id == "s01").values(wanted="retired"))
    )
    for _ in range(4):
        core.clock.pass_by(120)
        core.reports("s02", **READ_ONLY)
        core.reports("s03", **READ_ONLY)
        telling.rounds.round(core.clock.now)
    assert set(telling.states()[4:]) == {
        ("heartbeat-missing", "s01", "ended"),
        ("node-read-only", "s01", "ended"),
    }


def test_files_short_of_copies_and_without_any_are_told(telling: Telling) -> None:
    core = telling.core
    core.stores("s01")
    telling.look(120, each=10)
    assert telling.states() == []
    telling.look(30, each=10)
    assert telling.states() == [("copies-short", None, "began")]


def test_uploads_whose_copies_are_on_their_way_are_no_alert_however_many(
    telling: Telling,
) -> None:
    core = telling.core
    # At each look another file lacks its second copy, which comes before the next.
    for _ in range(20):
        file_id = core.stores("s01")
        telling.look(0, each=10)
        core.expects(file_id, "s02")
        core.takes(core.nodes.receipt("s02", core.clock.now, file_id=file_id))
    assert telling.states() == []


def test_a_backup_that_is_old_or_was_never_made_is_told(core: Core, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    settings = told_to(core, webhook="https://a.test/b").model_copy(update={"backups": folder})
    telling = Telling(core, settings)
    made = core.clock.now.timestamp()
    os.utime(folder, (made, made))
    telling.look(170, each=10)
    assert telling.states() == []
    telling.look(20, each=5)
    assert telling.states() == [("backup-old", None, "began")]
    (folder / "control-20260601T000000Z.sqlite").touch()
    newest = core.clock.now.timestamp()
    os.utime(folder / "control-20260601T000000Z.sqlite", (newest, newest))
    telling.look(10, each=5)
    assert telling.states()[1:] == [("backup-old", None, "ended")]
    # A folder that is gone is no backup.
    (folder / "control-20260601T000000Z.sqlite").unlink()
    folder.rmdir()
    telling.look(15, each=5)
    assert telling.states()[2:] == [("backup-old", None, "began")]


def test_uploads_that_fail_are_told_by_how_the_counts_rose(telling: Telling) -> None:
    for minute in range(0, 30, 2):
        counts = {"committed": 100 + 7 * minute, "failed": 3 * minute, "broken": 0}
        telling.look(each=2, uploads=counts)
    assert {name for name, _, _ in telling.states()} == {"uploads-failing"}


def test_samples_thin_out_and_go(core: Core) -> None:
    telling = Telling(core, core.settings)
    begin = core.clock.now
    for _ in range(30):
        core.clock.pass_by(300)
        core.all_report()
        telling.rounds.round(core.clock.now)
    moments = core.database.read(
        lambda s: s.scalars(
            select(AlertSample.at).where(AlertSample.node_id == "s01").order_by(AlertSample.at)
        ).all()
    )
    old = [at for at in moments if at < core.clock.now - store.DETAILED_FOR - timedelta(minutes=5)]
    assert all(at.minute % 30 == 0 for at in old)
    assert len(moments) - len(old) >= 24
    core.clock.pass_by(4 * 86400)
    core.all_report()
    telling.rounds.round(core.clock.now)
    left = core.database.read(lambda s: s.scalar(select(func.min(AlertSample.at))))
    assert left is not None
    assert left > begin + timedelta(days=4) - store.KEPT_FOR


def test_a_clock_that_was_ahead_leaves_no_sample_behind(core: Core) -> None:
    telling = Telling(core, core.settings)
    core.clock.pass_by(86400)
    telling.look()
    core.clock.pass_by(-86400)
    telling.look()
    newest = core.database.read(lambda s: s.scalar(select(func.max(AlertSample.at))))
    assert newest is not None
    assert newest <= core.clock.now


def test_what_nobody_is_told_is_noted_all_the_same(core: Core) -> None:
    telling = Telling(core, core.settings)
    telling.look(3, **READ_ONLY)
    assert telling.waiting() == []
    standing = core.database.read(store.standing)
    assert {name for name, _ in standing} == {"node-read-only"}


def test_a_sign_of_life_comes_as_often_as_asked_for(core: Core) -> None:
    telling = Telling(core, told_to(core, webhook="https://a.test/b", heartbeat=60))
    telling.look(2)
    assert [message.event for _, message in telling.waiting()] == ["heartbeat"]


def test_the_workers_rounds_look_for_what_is_wrong(core: Core) -> None:
    names = [each.name for each in rounds.of_copies(core.settings, core.database, core.clock)]
    assert "alerts" in names


# -- delivery --------------------------------------------------------------------------------------


class Post:
    """A courier of messages that a test puts, and what it has brought."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.brought: list[AlertMessage] = []
        self.fails: Exception | None = None
        self.courier = Courier("webhook", self._deliver, core.database, core.clock)

    def _deliver(self, message: AlertMessage) -> None:
        if self.fails is not None:
            raise self.fails
        self.brought.append(message)

    def put(self, event: str = "alerts") -> AlertMessage:
        message = AlertMessage.model_validate(
            {
                "event": event,
                "delivery_id": outbox.new_id(),
                "cluster": "lab",
                "at": self.core.clock.now,
                "text": "something",
            }
        )
        now = self.core.clock.now
        self.core.database.write(lambda s: outbox.put(s, "webhook", message, now))
        return message

    def left(self) -> int:
        return (
            self.core.database.read(lambda s: s.scalar(select(func.count(AlertNotice.notice_id))))
            or 0
        )


@pytest.fixture
def post(core: Core) -> Iterator[Post]:
    yield Post(core)


def test_messages_arrive_in_their_order_and_are_forgotten(post: Post) -> None:
    first = post.put()
    post.core.clock.pass_by(1)
    second = post.put()
    assert post.courier.deliver_one()
    assert post.courier.deliver_one()
    assert not post.courier.deliver_one()
    assert post.brought == [first, second]
    assert post.left() == 0


def test_one_that_does_not_arrive_comes_again_later_each_time_for_a_day(post: Post) -> None:
    post.put()
    post.fails = NotDelivered("https://a.test: answered with 503")
    assert post.courier.deliver_one()
    assert not post.courier.deliver_one()
    stuck = post.core.database.read(outbox.waiting)
    assert stuck == [("webhook", 1, "https://a.test: answered with 503")]
    attempts = 0
    while post.left():
        post.core.clock.pass_by(300)
        attempts += post.courier.deliver_one()
    # Ten minutes apart at the most, half of it at the least, for a day.
    assert 140 <= attempts <= 289
    assert post.brought == []


def test_one_that_fails_at_first_arrives_once_the_receiver_is_back(post: Post) -> None:
    message = post.put()
    post.fails = NotDelivered("away")
    post.courier.deliver_one()
    post.fails = None
    post.core.clock.pass_by(11)
    assert post.courier.deliver_one()
    assert post.brought == [message]


def test_what_nobody_wants_is_not_tried_again(post: Post) -> None:
    post.put()
    post.fails = NotWanted("answered with 410")
    post.courier.deliver_one()
    assert post.left() == 0


def test_a_message_that_cannot_be_sent_is_tried_later_and_holds_nobody_up(post: Post) -> None:
    post.put()
    post.fails = UnicodeEncodeError("ascii", "hunter2 \u00fc", 8, 9, "no")
    assert post.courier.deliver_one()
    assert post.left() == 1
    assert post.core.database.read(lambda s: s.scalar(select(AlertNotice.problem))) == (
        "it can't be sent: UnicodeEncodeError"
    )


def test_a_message_of_another_release_holds_nobody_up(post: Post) -> None:
    post.put()
    post.core.database.write(lambda s: s.execute(update(AlertNotice).values(message="{}")))
    post.core.clock.pass_by(1)
    readable = post.put()
    assert post.courier.deliver_one()
    assert post.courier.deliver_one()
    assert post.brought == [readable]
    assert post.left() == 1


def test_a_sign_of_life_is_never_late(post: Post) -> None:
    post.put("heartbeat")
    post.fails = NotDelivered("away")
    post.courier.deliver_one()
    assert post.left() == 0


def test_of_two_workers_one_delivers(post: Post, core: Core) -> None:
    post.put()
    attempt = core.database.write(lambda s: outbox.take(s, "webhook", core.clock.now))
    assert attempt is not None
    # The other one finds nothing, until the first has had its time: it may have died.
    assert not post.courier.deliver_one()
    core.clock.pass_by(outbox.LEASE.total_seconds())
    assert post.courier.deliver_one()


def test_a_clock_that_was_ahead_delays_nothing(post: Post, core: Core) -> None:
    core.clock.pass_by(400 * 86400)
    message = post.put()
    core.clock.pass_by(-400 * 86400)
    assert post.courier.deliver_one()
    assert post.brought == [message]


def test_while_a_receiver_is_away_messages_are_kept_up_to_a_bound(post: Post) -> None:
    messages = []
    for _ in range(outbox.MOST_WAITING + 5):
        post.core.clock.pass_by(1)
        messages.append(post.put())
    assert post.left() == outbox.MOST_WAITING
    post.courier.deliver_one()
    assert post.brought == [messages[5]]


def test_what_was_seen_in_a_round_arrives_at_a_real_receiver(
    core: Core, database: Database
) -> None:
    with Receiver() as receiver:
        settings = told_to(core, webhook=f"{receiver.origin}/alerts")
        telling = Telling(core, settings)
        telling.look(3, **READ_ONLY)
        ((channel, deliver),) = channels.of(settings).items()
        courier = Courier(channel, deliver, database, core.clock)
        courier.start()
        try:
            for _ in range(600):
                if receiver.received:
                    break
                time.sleep(0.05)
        finally:
            courier.stop()
    (taken,) = receiver.received
    keys = Keyset(keys=(core.key.public(),))
    assert verify_hook(taken.signature, keys, receiver.origin, taken.body).iss == "lab"
    message = AlertMessage.model_validate_json(taken.body)
    assert {each.node_id for each in message.alerts} == {"s01", "s02", "s03"}
    assert courier.failed is None
