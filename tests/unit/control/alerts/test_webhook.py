"""Alerts arrive at a webhook, signed as a node's hooks are; or it is said why they don't."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control.alerts import text
from control.alerts.webhook import NotDelivered, NotWanted, post
from portside.alerting.message import AlertMessage
from portside.tokens import SigningKey, TokenRefused, verify_hook
from portside.wire.keys import Keyset
from tests.support.agent.receiver import Receiver, self_signed

MESSAGE = text.of_test("lab", datetime.now(UTC))
KEY = SigningKey.generate("lab")


def test_a_message_arrives_whole_and_signed() -> None:
    with Receiver() as receiver:
        post(f"{receiver.origin}/secret?token=1", MESSAGE, KEY)
    (taken,) = receiver.received
    assert taken.path == "/secret?token=1"
    assert taken.content_type == "application/json"
    assert AlertMessage.model_validate_json(taken.body) == MESSAGE
    keys = Keyset(keys=(KEY.public(),))
    claims = verify_hook(taken.signature, keys, receiver.origin, taken.body)
    assert (claims.iss, claims.jti) == ("lab", MESSAGE.delivery_id)
    with pytest.raises(TokenRefused):
        verify_hook(taken.signature, keys, receiver.origin, taken.body + b" ")


def test_without_an_issuers_key_it_is_not_signed() -> None:
    with Receiver() as receiver:
        post(receiver.origin, MESSAGE, None)
    assert receiver.received[0].signature == ""
    assert json.loads(receiver.received[0].body)["event"] == "test"


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_an_answer_that_is_no_yes_is_none(status: int) -> None:
    with Receiver(status) as receiver:
        receiver.location = f"{receiver.origin}/elsewhere"
        with pytest.raises(NotDelivered, match=str(status)) as refused:
            post(f"{receiver.origin}/secret", MESSAGE, KEY)
    # Redirects aren't followed, and a chat service's secret is in no message.
    assert len(receiver.received) == 1
    assert "secret" not in str(refused.value)


def test_who_wants_none_any_more_says_410() -> None:
    with Receiver(410) as receiver, pytest.raises(NotWanted):
        post(receiver.origin, MESSAGE, KEY)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with (
        Receiver(certificate=self_signed(tmp_path)) as receiver,
        pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        post(f"{receiver.origin}/secret", MESSAGE, KEY)
    assert receiver.received == []


def test_a_receiver_that_is_away_is_said_without_its_path() -> None:
    with Receiver() as receiver:
        origin = receiver.origin
    with pytest.raises(NotDelivered, match="refused") as refused:
        post(f"{origin}/secret", MESSAGE, KEY)
    assert "secret" not in str(refused.value)


def test_a_receiver_can_not_stretch_the_deadline() -> None:
    """It sends a byte now and then, for as long as somebody listens."""

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connection.sendall(b"X")
                    time.sleep(0.05)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(NotDelivered):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", MESSAGE, KEY, deadline=1)
        assert time.monotonic() - began < 30
        thread.join()
