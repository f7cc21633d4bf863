"""aiohttp. Arguments: see tests/support/clients/programs.py."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp


async def main(
    method: str, url: str, kind: str, file: str, offset: str, save: str, *lines: str
) -> None:
    headers = dict(line.split(": ", 1) for line in lines)
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    body: Any = None
    if kind != "none":
        source = Path(file).open("rb")  # noqa: SIM115 (aiohttp closes it)
        source.seek(int(offset))
        body = {"file": source} if kind == "form" else source
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body, headers=headers, ssl=trust) as response,
    ):
        print(response.status)
        for name, value in response.headers.items():
            print(f"{name}: {value}", flush=True)
        with Path(save).open("wb", buffering=0) as saved:
            async for piece in response.content.iter_any():
                saved.write(piece)


asyncio.run(main(*sys.argv[1:]))
