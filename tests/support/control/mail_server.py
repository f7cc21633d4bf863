"""A mail server on loopback that speaks enough SMTP (RFC 5321) to be spoken to by any client:
STARTTLS (RFC 3207), TLS from the first byte (RFC 8314), AUTH PLAIN and LOGIN (RFC 4954).

The standard library's is gone since Python 3.12. Nothing of it is shared with the client.
"""

from __future__ import annotations

import base64
import email
import socket
import ssl
import threading
from contextlib import closing
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a client that says nothing is left."""


@dataclass
class Mailed:
    """One message as it was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str | None


@dataclass
class MailServer:
    """Takes mail, as long as nothing else is set. Ends with its context."""

    certificate: Path | None = None
    """Chain and key in one file: then there is TLS."""
    from_the_first_byte: bool = False
    user: str | None = None
    password: str = ""
    refuses: str = ""
    """An answer to each recipient, such as `550 no such user`; empty: they are taken."""
    farewell: str = "221 bye"
    """The answer to QUIT."""
    silent: bool = False
    """Takes connections and never says anything."""
    taken: list[Mailed] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    """Every line of every client, passwords included."""

    def __enter__(self) -> MailServer:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *failed: object) -> None:
        # Wakes `accept`, which closing alone doesn't.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._open:
            each.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            self._open.append(connection)
            if self.silent:
                continue
            try:
                if self.from_the_first_byte:
                    connection = self.secured(connection)
                conversation = _Conversation(self, connection, self.from_the_first_byte)
                with closing(conversation):
                    conversation.hold()
            except OSError:
                # The client has gone: what it wanted to see it has seen.
                continue

    def secured(self, connection: socket.socket) -> ssl.SSLSocket:
        """The same connection, encrypted from here on."""
        assert self.certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context.wrap_socket(connection, server_side=True)


class _Conversation:
    """One client, until it quits."""

    def __init__(self, server: MailServer, connection: socket.socket, encrypted: bool) -> None:
        self._server = server
        self._connection = connection
        self._encrypted = encrypted
        self._unread = b""
        self._user: str | None = None
        self._sender = ""
        self._recipients: list[str] = []

    def close(self) -> None:
        """Leave the client, by the connection that it has now."""
        self._connection.close()

    def hold(self) -> None:
        """Answer whatever it says."""
        self._say("220 mail.portside.test ESMTP")
        while (line := self._line()) is not None:
            verb = line.partition(" ")[0].upper()
            if verb == "QUIT":
                self._say(self._server.farewell)
                return
            answer = self._answer(verb, line)
            if answer:
                self._say(answer)

    def _answer(self, verb: str, line: str) -> str:
        if verb == "EHLO":
            return self._greeting()
        if verb == "STARTTLS" and self._server.certificate and not self._encrypted:
            self._say("220 go ahead")
            self._connection = self._server.secured(self._connection)
            self._encrypted, self._unread = True, b""
            return ""
        if verb == "AUTH":
            return self._authenticated(line)
        if self._server.user is not None and self._user is None:
            return "530 authentication required"
        if verb == "MAIL":
            self._sender, self._recipients = _address(line), []
            return "250 ok"
        if verb == "RCPT":
            if self._server.refuses:
                return self._server.refuses
            self._recipients.append(_address(line))
            return "250 ok"
        if verb == "DATA":
            return self._taken()
        return "250 ok" if verb in ("RSET", "NOOP") else "502 not here"

    def _greeting(self) -> str:
        offers = ["mail.portside.test"]
        if self._server.certificate and not self._encrypted:
            offers.append("STARTTLS")
        if self._server.user is not None:
            offers.append("AUTH PLAIN LOGIN")
        return "\r\n".join([*(f"250-{each}" for each in offers[:-1]), f"250 {offers[-1]}"])

    def _authenticated(self, line: str) -> str:
        _, way, *given = line.split()
        if way.upper() == "PLAIN":
            said = given[0] if given else self._asked("334 ")
            _, user, password = base64.b64decode(said).decode().split("\0")
        else:
            user = base64.b64decode(given[0] if given else self._asked("334 VXNlcm5hbWU6")).decode()
            password = base64.b64decode(self._asked("334 UGFzc3dvcmQ6")).decode()
        if (user, password) != (self._server.user, self._server.password):
            return "535 wrong user or password"
        self._user = user
        return "235 welcome"

    def _asked(self, question: str) -> str:
        self._say(question)
        return self._line() or ""

    def _taken(self) -> str:
        if not self._recipients:
            return "503 nobody to take it for"
        self._say("354 go on")
        lines = []
        while (line := self._line()) not in (".", None):
            lines.append((line or "").removeprefix("."))
        message = email.message_from_string("\n".join(lines), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self._server.taken.append(
            Mailed(self._sender, self._recipients, message, self._encrypted, self._user)
        )
        return "250 taken"

    def _line(self) -> str | None:
        while b"\r\n" not in self._unread:
            came = self._connection.recv(65536)
            if not came:
                return None
            self._unread += came
        line, _, self._unread = self._unread.partition(b"\r\n")
        self._server.heard.append(line.decode())
        return line.decode()

    def _say(self, text: str) -> None:
        self._connection.sendall(f"{text}\r\n".encode())


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
