"""requests, of whichever version is installed. Arguments: see tests/support/clients/programs.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import requests


def main(method: str, url: str, kind: str, file: str, offset: str, save: str, *lines: str) -> None:
    headers = dict(line.split(": ", 1) for line in lines)
    body: dict[str, Any] = {}
    if kind != "none":
        source = Path(file).open("rb")  # noqa: SIM115 (as people do)
        source.seek(int(offset))
        body = {"files": {"file": source}} if kind == "form" else {"data": source}
    response = requests.request(method, url, headers=headers, stream=True, timeout=60, **body)
    print(response.status_code)
    for name, value in response.headers.items():
        print(f"{name}: {value}", flush=True)
    with Path(save).open("wb", buffering=0) as saved:
        for piece in response.iter_content(65536):
            saved.write(piece)
    # Without this a body that was cut short looks like its end.
    if method != "HEAD" and response.raw.tell() < int(response.headers.get("Content-Length", 0)):
        sys.exit("cut short")


main(*sys.argv[1:])
