"""Alerts arrive in a mailbox, encrypted, from a user who is known; or it is said why they don't."""

from __future__ import annotations

import logging
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from control.alerts import mail, text
from control.alerts.webhook import NotDelivered
from portside.alerting.destinations import Mail
from portside.operator import certificates
from tests.support.control.mail_server import MailServer

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PASSWORD = "hunter2 \u00fc"
MESSAGE = text.of_test("lab", NOW)


@pytest.fixture(scope="module")
def authority() -> certificates.Pair:
    return certificates.make_ca("lab")


@pytest.fixture
def certificate(tmp_path: Path, authority: certificates.Pair) -> Path:
    pair = certificates.issue(authority, "localhost")
    path = tmp_path / "mail.pem"
    path.write_bytes(pair.certificate_pem + pair.key_pem)
    return path


@pytest.fixture
def trusted(authority: certificates.Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate_pem.decode())


def mailbox(server: MailServer, **changed: Any) -> Mail:
    return Mail.model_validate(
        {
            "to": ["ops@example.net", "night@example.net"],
            "sender": "portside@example.net",
            "host": "localhost",
            "port": server.port,
            **changed,
        }
    )


def send(to: Mail, trusted: ssl.SSLContext, password: str | None = None, **more: Any) -> None:
    mail.send(to, password, MESSAGE, "https://c01.portside.test:8443", trusted, **more)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_arrives_encrypted_from_a_known_user(
    certificate: Path, trusted: ssl.SSLContext, tls: str
) -> None:
    with MailServer(certificate, tls == "tls", "ops", "hunter2") as server:
        send(mailbox(server, tls=tls, user="ops"), trusted, "hunter2")
    (taken,) = server.taken
    assert (taken.encrypted, taken.user) == (True, "ops")
    assert taken.sender == "portside@example.net"
    assert taken.recipients == ["ops@example.net", "night@example.net"]
    assert taken.message["Subject"] == "[lab] test"
    assert taken.message["Auto-Submitted"] == "auto-generated"
    assert taken.message["Message-ID"] == f"<{MESSAGE.delivery_id}@c01.portside.test>"
    assert "this is a test" in taken.message.get_content()


def test_where_nothing_is_encrypted_nobody_logs_in(trusted: ssl.SSLContext) -> None:
    with MailServer() as server:
        send(mailbox(server, tls="none"), trusted)
    (taken,) = server.taken
    assert not taken.encrypted
    assert not any(line.startswith("AUTH") for line in server.heard)


def test_a_server_without_starttls_gets_nothing(trusted: ssl.SSLContext) -> None:
    with (
        MailServer(user="ops", password="hunter2") as server,
        pytest.raises(NotDelivered, match="STARTTLS"),
    ):
        send(mailbox(server, user="ops"), trusted, "hunter2")
    assert server.taken == []
    assert not any(line.startswith(("AUTH", "MAIL")) for line in server.heard)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_server_that_others_pass_for_gets_nothing(certificate: Path, tls: str) -> None:
    with (
        MailServer(certificate, tls == "tls", "ops", "hunter2") as server,
        pytest.raises(NotDelivered, match="certificate"),
    ):
        send(mailbox(server, tls=tls, user="ops"), ssl.create_default_context(), "hunter2")
    assert not any(line.startswith(("AUTH", "MAIL")) for line in server.heard)


def test_a_wrong_password_is_said_and_not_shown(
    certificate: Path, trusted: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        MailServer(certificate, user="ops", password="right") as server,
        pytest.raises(NotDelivered, match=r"login refused \(535\)") as refused,
    ):
        send(mailbox(server, user="ops"), trusted, "hunter2")
    assert "hunter2" not in f"{refused.value}{caplog.text}"


def test_an_address_that_is_refused_is_said(certificate: Path, trusted: ssl.SSLContext) -> None:
    with (
        MailServer(certificate, refuses="550 no such user") as server,
        pytest.raises(NotDelivered, match="550"),
    ):
        send(mailbox(server), trusted)


def test_a_server_that_is_away_is_said(trusted: ssl.SSLContext) -> None:
    with MailServer() as server:
        to = mailbox(server)
    with pytest.raises(NotDelivered, match="refused"):
        send(to, trusted)


def test_a_server_that_says_nothing_holds_nobody_for_long(
    trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "PATIENCE", 0.5)
    began = time.monotonic()
    with MailServer(silent=True) as server, pytest.raises(NotDelivered):
        send(mailbox(server), trusted)
    assert time.monotonic() - began < 20


def test_a_mail_that_was_taken_has_arrived_however_the_server_parts(
    trusted: ssl.SSLContext,
) -> None:
    with MailServer(farewell="451 not now") as server:
        send(mailbox(server, tls="none"), trusted)
    assert len(server.taken) == 1


def test_a_password_that_is_not_ascii_is_not_delivered_and_not_quoted(
    certificate: Path, trusted: ssl.SSLContext
) -> None:
    with (
        MailServer(certificate, user="ops", password="right") as server,
        pytest.raises(NotDelivered, match=r"UnicodeEncodeError$"),
    ):
        send(mailbox(server, user="ops"), trusted, PASSWORD)
    assert server.taken == []


@pytest.mark.parametrize("host", ["smtp..example.net", ".example.net", f"{'a' * 64}.net", "-a.net"])
def test_a_host_that_can_be_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        Mail(to=("ops@example.net",), sender="portside@example.net", host=host)


@pytest.mark.parametrize("host", ["smtp.example.net", "192.0.2.1", "2001:db8::1", "::1", "mail"])
def test_a_host_by_name_or_address_is_taken(host: str) -> None:
    assert Mail(to=("ops@example.net",), sender="portside@example.net", host=host).host == host
