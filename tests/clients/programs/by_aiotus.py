"""aiotus: endpoint, token, file, how often to try. Prints the upload's URL, logs errors."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from pathlib import Path

import aiotus


async def main(endpoint: str, token: str, file: str, attempts: str) -> None:
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    path = Path(file)
    with path.open("rb") as source:
        url = await aiotus.upload(
            endpoint,
            source,
            {"filename": path.name.encode()},
            config=aiotus.RetryConfiguration(retry_attempts=int(attempts), ssl=trust),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
    if url is None:
        sys.exit("not uploaded")
    print(url)


logging.basicConfig(level=logging.INFO)
asyncio.run(main(*sys.argv[1:]))
