"""Send an alert's message to a mailbox (RFC 5321), encrypted and as a known user where wanted."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

import structlog

from control.alerts import text
from control.alerts.deadline import DEADLINE, cut_off
from control.alerts.webhook import NotDelivered
from portside.alerting.destinations import Mail
from portside.alerting.message import AlertMessage

_log = structlog.get_logger()

PATIENCE = 20.0
"""Seconds for each of the server's answers. Only the courier waits for it."""

FAREWELL = 5.0
"""Seconds for the answer to QUIT, of which nothing depends."""


def send(
    mail: Mail,
    password: str | None,
    message: AlertMessage,
    control_url: str,
    trusted: ssl.SSLContext | None = None,
    deadline: float = DEADLINE,
) -> None:
    """Have the server take it. Raises NotDelivered.

    `trusted` says whose certificates count; without it those of the system's authorities.
    """
    host = urlsplit(control_url).hostname or "localhost"
    context = trusted or ssl.create_default_context()
    try:
        # `closing`: smtplib's own context counts an odd answer to QUIT as a failure.
        with closing(_connected(mail, host, context)) as server:
            with cut_off(lambda: server.sock, deadline):
                if mail.tls == "starttls":
                    # One that lacks it is refused: an attacker between could have taken it out.
                    server.starttls(context=context)
                if mail.user is not None:
                    server.login(mail.user, password or "")
                refused = server.send_message(letter(mail, message, host))
            # The mail was taken, whatever is said now.
            with suppress(OSError, smtplib.SMTPException), cut_off(lambda: server.sock, FAREWELL):
                server.quit()
    except (OSError, UnicodeError, smtplib.SMTPException) as error:
        # UnicodeError: a password or a host that can't be sent as it is.
        raise NotDelivered(f"{mail.host}: {_why(error)}") from None
    if refused:
        _log.warning("alert's recipients refused", recipients=sorted(refused))


def letter(mail: Mail, message: AlertMessage, host: str) -> EmailMessage:
    """The mail itself: plain text."""
    made = EmailMessage()
    made["Subject"] = text.subject(message)
    made["From"] = mail.sender
    made["To"] = ", ".join(mail.to)
    made["Date"] = format_datetime(message.at)
    # The same at each attempt: a mailbox shows one that came twice once.
    made["Message-ID"] = f"<{message.delivery_id}@{host}>"
    # So that nobody's holiday answers (RFC 3834).
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text.body(message))
    return made


def _connected(mail: Mail, host: str, context: ssl.SSLContext) -> smtplib.SMTP:
    # The name is given: to look up our own could hang.
    if mail.tls == "tls":
        return smtplib.SMTP_SSL(
            mail.host, mail.port_used, local_hostname=host, timeout=PATIENCE, context=context
        )
    return smtplib.SMTP(mail.host, mail.port_used, local_hostname=host, timeout=PATIENCE)


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        # Its words quote what it failed at: a letter of a password, say.
        return type(error).__name__
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"login refused ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        return f"{error.smtp_code} {said}"[:300]
    return f"{type(error).__name__}: {error}"[:300]
