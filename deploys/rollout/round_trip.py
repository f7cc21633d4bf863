"""A file that goes to a node, comes back and is deleted, as a client would do it.

Only the standard library: it runs on the operator's machine, and where that can't reach the node
on the node itself, by whatever Python that has.
"""

import hashlib
import http.client
import json
import socket
import ssl
import time

PATIENCE = 30
"""Seconds for each answer."""

FULL = 20
"""Seconds in which a node is asked again that has no room for a request at this moment."""

FOR_A_MOMENT = (429, 503)
"""Slots may all be taken, and others behind this address may have asked for much (RFC 6585, 4)."""


class Failed(Exception):
    """What went wrong: the check, what was seen, the problem's short name if it was a refusal."""

    def __init__(self, check: str, detail: str, slug: str = "") -> None:
        super().__init__(check, detail, slug)


class _Connection(http.client.HTTPSConnection):
    """TLS with the host that is named, at the address that is given."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context, timeout=PATIENCE)
        self._where, self._tls = (address, port), context

    def connect(self) -> None:
        plain = socket.create_connection(self._where, PATIENCE)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def out_of_reach(host: str, authority: str | None, port: int = 443) -> str | None:
    """Why this machine can't talk to the host by its public name, if it can't.

    `authority` is the PEM text of whom to trust in place of the system's.
    """
    connection = _Connection(host, port, host, ssl.create_default_context(cadata=authority))
    try:
        connection.connect()
    except OSError as error:
        return str(error)
    finally:
        connection.close()
    return None


def round_trip(
    host: str,
    upload: str,
    access: str,
    file_id: str,
    name: str,
    content: str,
    authority: str | None = None,
    address: str | None = None,
    port: int = 443,
) -> tuple[str, str, str] | None:
    """Upload, download, delete: the check that failed, what was seen, the refusal's short name.

    None when all went well. `upload` and `access` are tokens. With `address` the certificate isn't
    looked at: who asks is the machine itself.
    """
    context = ssl.create_default_context(cadata=authority)
    if address is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    data = content.encode()

    def ask(
        check: str, wanted: tuple[int, ...], method: str, path: str, token: str, body: bytes = b""
    ) -> bytes:
        headers = {"Authorization": "Bearer " + token} if token else {}
        deadline = time.monotonic() + FULL
        while True:
            connection = _Connection(host, port, address or host, context)
            try:
                connection.request(method, path, body or None, headers)
                answer = connection.getresponse()
                said = answer.read(1 << 20)
            except (OSError, http.client.HTTPException) as error:
                raise Failed(check, str(error) or repr(error)) from None
            finally:
                connection.close()
            if answer.status in wanted:
                return said
            if answer.status not in FOR_A_MOMENT or time.monotonic() > deadline:
                raise Failed(check, *_told(answer.status, said))
            time.sleep(1)

    try:
        place = "/api/internal/upload/" + name
        stored = json.loads(ask("upload", (201,), "PUT", place, upload, data))
        if stored["sha256"] != hashlib.sha256(data).hexdigest():
            raise Failed("upload", "the node has another SHA-256 than was sent")
        if ask("download", (200,), "GET", "/uploads/" + stored["path"], "") != data:
            raise Failed("download", "other bytes came back than were sent")
        ask("deletion", (204,), "DELETE", "/api/v1/files/" + file_id, access)
        ask("deletion", (404, 410), "GET", "/uploads/" + stored["path"], "")
    except Failed as failed:
        check, detail, slug = failed.args
        return check, detail, slug
    except (ValueError, KeyError) as error:
        return ("upload", "the answer can't be read: " + repr(error), "")
    return None


def _told(status: int, body: bytes) -> tuple[str, str]:
    """A refusal in words, and its problem's short name (RFC 9457)."""
    try:
        problem = json.loads(body)
        slug = problem["type"].rsplit(":", 1)[-1].rsplit("#", 1)[-1]
        return f"{status} {slug}: {problem['detail']}", slug
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{status}: {body[:200].decode(errors='replace')}", ""
