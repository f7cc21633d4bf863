"""A browser that visits a page of another origin, chooses a file and lets a library act."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.clients.promises import Body, LineCut, Refusal, authorization
from tests.support.protocol.requests_by_hand import Answer, Tus

PROGRAMS = {"chromium": ("chrome", "chromium"), "firefox": ("firefox", "firefox-esr")}
"""What puppeteer calls each, and Debian."""

_PAGE = (
    '<!doctype html><meta charset="utf-8"><title>page</title>'
    '<input type="file" id="file"><script src="pages.js"></script>'
)
_SECONDS = 120


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: what the browser fetches is of no interest."""


@contextmanager
def page_server(port: int, folder: Path) -> Iterator[str]:
    """Serves `folder` with a page that loads its `pages.js`; the page's URL."""
    (folder / "index.html").write_text(_PAGE)
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://localhost:{port}/"
    server.shutdown()
    serving.join()
    server.server_close()


class Browser:
    """One running browser; each visit is a tab of its own."""

    def __init__(self, name: str, driver: Path, home: Path, page: str) -> None:
        kind, program = PROGRAMS[name]
        self.name = name
        self.downloads = home / "downloads"
        self.downloads.mkdir()
        found = shutil.which(program)
        assert found, f"{program} isn't installed"
        words = [kind, found, str(home / "profile"), str(self.downloads), page]
        self._driver = subprocess.Popen(
            ["node", str(driver), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._heard() == "ready"

    def visit(self, client: str, file: Path | None, **wish: Any) -> dict[str, Any]:
        """What a library came to. The page's console is among it, for who reads a failed test."""
        assert self._driver.stdin is not None
        told = {"client": client, "file": None if file is None else str(file), **wish}
        self._driver.stdin.write(json.dumps(told) + "\n")
        self._driver.stdin.flush()
        result: dict[str, Any] = self._heard()
        assert "failed" not in result, result["failed"]
        return result

    def upload(
        self,
        client: str,
        endpoint: str,
        upload: Tus,
        source: Path,
        refusal: Refusal | None = None,
        **wish: Any,
    ) -> Answer:
        """The last answer that the page's code has seen."""
        result = self._upload(client, endpoint, upload, source, refusal, wish)
        assert result["status"], f"the page saw a network error: {result}"
        told = {"Content-Type": "application/problem+json"} if result["status"] >= 400 else {}
        return Answer(result["status"], told, result["body"].encode())

    def requests(
        self, client: str, endpoint: str, upload: Tus, source: Path, **wish: Any
    ) -> list[list[Any]]:
        """Methods and offsets of a tus client's requests for an upload that comes to its end."""
        result = self._upload(client, endpoint, upload, source, None, wish)
        assert result["status"] in (200, 204), result
        asked: list[list[Any]] = result["asked"]
        return asked

    def _upload(
        self,
        client: str,
        endpoint: str,
        upload: Tus,
        source: Path,
        refusal: Refusal | None,
        wish: dict[str, Any],
    ) -> dict[str, Any]:
        token = authorization(upload) if refusal is None or refusal.token else {}
        name = source.name if refusal is None else refusal.name
        wish = {"endpoint": endpoint, "headers": token, "name": name, **wish}
        return self.visit(client, source, **wish)

    def close(self) -> None:
        """End it."""
        self._driver.communicate(timeout=_SECONDS)

    def _heard(self) -> Any:
        assert self._driver.stdout is not None
        timer = threading.Timer(_SECONDS, self._driver.kill)
        timer.start()
        line = self._driver.stdout.readline()
        timer.cancel()
        if not line:
            raise AssertionError(f"the browser ended: {self._driver.communicate()[1]}")
        return json.loads(line)


class Axios:
    """`promises.Client` by axios in a browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        save: Path | None = None,
    ) -> Answer:
        file = None if body is None else body.file
        wish: dict[str, Any] = {"method": method, "endpoint": url, "headers": dict(headers)}
        if body is not None:
            kind = "form" if body.form else "raw"
            wish |= {"kind": kind, "offset": body.offset, "name": body.file.name}
        result = self._browser.visit("axios", file, **wish)
        data = base64.b64decode(result["body"])
        if save is not None:
            save.write_bytes(data)
        if not result["status"]:
            raise LineCut(f"{result['error']}: {result['complaints']}")
        told = {name.title(): str(value) for name, value in result["headers"].items()}
        return Answer(result["status"], told, data)
