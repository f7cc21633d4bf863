"""`portside-control alerts` lists what is wrong, and tries the ways to those who are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from control import cli
from control.alerts import outbox, text
from control.alerts.rounds import AlertRounds
from portside.tokens import verify_hook
from portside.wire.keys import Keyset
from tests.support.agent.receiver import Receiver
from tests.support.control.core import Core
from tests.support.control.mail_server import MailServer

Ran = tuple[int, str, str]
Run = Callable[..., Ran]


@pytest.fixture
def run(core: Core, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on this cluster: its exit code, what it printed, what it said went wrong."""

    def ran(*arguments: str, alerts: str = "") -> Ran:
        config = tmp_path / "told.toml"
        config.write_text((tmp_path / "control.toml").read_text() + alerts)
        capsys.readouterr()
        code = 0
        try:
            cli.main(("alerts", "--config", str(config), *arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def look(core: Core, times: int, **heartbeat: object) -> None:
    rounds = AlertRounds(core.settings, core.database)
    for _ in range(times):
        core.clock.pass_by(60)
        core.all_report(**heartbeat)
        rounds.round(core.clock.now)


def test_where_nothing_is_wrong_it_says_so(core: Core, run: Run) -> None:
    look(core, 2)
    assert run() == (0, "nothing is wrong\n", "")
    assert json.loads(run("--json")[1]) == {"alerts": [], "stuck": []}


def test_what_is_wrong_is_listed_with_its_node_and_since_when(core: Core, run: Run) -> None:
    look(core, 4, accepting=False, reasons=("disk-failed: an I/O error",))
    code, out, _ = run("list")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["critical", "node-read-only", node] for node in ("s01", "s02", "s03")
    ]
    assert lines[0][4] == "disk-failed: an I/O error"
    told = json.loads(run("--json")[1])["alerts"]
    assert [each["node_id"] for each in told] == ["s01", "s02", "s03"]
    look(core, 1)
    assert "not any more" in run()[1]


def test_a_receiver_that_is_stuck_is_listed(core: Core, run: Run) -> None:
    now = core.clock.now
    message = text.of_alerts("lab", (), now)
    core.database.write(lambda s: outbox.put(s, "mail", message, now))
    attempt = core.database.write(lambda s: outbox.take(s, "mail", now))
    assert attempt is not None
    core.database.write(lambda s: outbox.failed(s, attempt, "mail.test: away", now))
    assert run()[1] == "mail: 1 messages wait: mail.test: away\n"


def test_a_test_goes_each_way_and_says_who_took_it(core: Core, run: Run) -> None:
    with Receiver() as receiver, MailServer() as server:
        alerts = (
            f'[alerts]\nwebhook = "{receiver.origin}/x"\n[alerts.mail]\nto = ["ops@example.net"]\n'
            f'sender = "p@example.net"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
        )
        assert run("test", alerts=alerts) == (0, "webhook: taken\nmail: taken\n", "")
    assert json.loads(receiver.received[0].body)["event"] == "test"
    assert server.taken[0].message["Subject"] == "[lab] test"


def test_a_way_that_is_closed_is_said_and_the_other_is_tried(run: Run) -> None:
    with Receiver(500) as receiver, MailServer() as server:
        alerts = (
            f'[alerts]\nwebhook = "{receiver.origin}/x"\n[alerts.mail]\nto = ["ops@example.net"]\n'
            f'sender = "p@example.net"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
        )
        code, out, wrong = run("test", alerts=alerts)
    assert (code, out) == (1, "mail: taken\n")
    assert wrong == f"portside-control: webhook: {receiver.origin}: answered with 500\n"


def test_where_nobody_is_told_a_test_says_what_is_missing(run: Run) -> None:
    code, _, wrong = run("test")
    assert code == 1
    assert "control.alerts" in wrong


def test_a_password_that_can_not_be_read_is_said(run: Run, tmp_path: Path) -> None:
    alerts = (
        f'alerts_password_file = "{tmp_path / "none"}"\n[alerts.mail]\nto = ["ops@example.net"]\n'
        'sender = "p@example.net"\nhost = "127.0.0.1"\nuser = "ops"\n'
    )
    code, _, wrong = run("test", alerts=alerts)
    assert code == 1
    assert "can't be read" in wrong


def test_a_receiver_checks_with_the_keys_that_it_prints(run: Run) -> None:
    with Receiver() as receiver:
        run("test", alerts=f'[alerts]\nwebhook = "{receiver.origin}/x"\n')
    keys = Keyset.model_validate_json(run("keys")[1])
    taken = receiver.received[0]
    assert verify_hook(taken.signature, keys, receiver.origin, taken.body).iss == "lab"
