"""TCP over a long way: every byte arrives later, none is lost, many are under way at once.

There is no netem everywhere. Only the time on the way is added: no limit of the rate.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CHUNK = 64 * 1024
_UNDER_WAY = 1024
"""Chunks of one direction at once; who sends more waits."""


@contextmanager
def far_away(addresses: Mapping[str, str], port: int, seconds: float) -> Iterator[dict[str, int]]:
    """A port of this computer for each name, through which its address is `seconds` of round trip
    away, as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="delay", daemon=True)
    thread.start()
    ways = {name: _Way(address, port, seconds) for name, address in addresses.items()}
    try:
        yield {
            name: asyncio.run_coroutine_threadsafe(way.open(), loop).result()
            for name, way in ways.items()
        }
    finally:
        asyncio.run_coroutine_threadsafe(_close(ways), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Way:
    """To one address."""

    def __init__(self, address: str, port: int, seconds: float) -> None:
        self._to, self._round_trip = (address, port), seconds
        self._carrying: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for each in self._carrying:
            each.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake of TCP itself is a round trip: who connects here is let in at once.
        await asyncio.sleep(self._round_trip)
        try:
            there, back = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        one_way = self._round_trip / 2
        directions = [(reader, back), (there, writer)]
        tasks = {asyncio.create_task(_carry(*each, one_way)) for each in directions}
        self._carrying |= tasks
        try:
            await asyncio.wait(tasks)
        finally:
            self._carrying -= tasks
            for each in (back, writer):
                each.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    """One direction, to its end; the other may go on."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def send() -> None:
        data = b"some"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                # Cut off: that is an end as well.
                data = b""
            await under_way.put((clock() + seconds, data))

    sending = asyncio.create_task(send())
    try:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - clock())
            if not data:
                sink.write_eof()
                return
            sink.write(data)
            await sink.drain()
    except OSError:
        # That side is gone: the other is told so.
        sink.close()
    finally:
        sending.cancel()


async def _close(ways: Mapping[str, _Way]) -> None:
    for way in ways.values():
        await way.close()
