"""Load generator for HTTP: keep-alive connections that send requests at a rate, and measure each answer.

One process, one thread; a request that waits for a free connection counts its waiting time (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Make = Callable[[int], bytes]
"""Number of a request → its bytes."""


@dataclass
class Load:
    """Answers of one run: seconds of each, statuses, and bodies with their paths if these are kept."""

    seconds: list[float] = field(default_factory=list)
    status: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    bodies: list[bytes] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def summary(self, wall: float) -> dict[str, float | int | dict[str, int]]:
        """Return rate, percentiles in milliseconds, and failures."""
        ms = 1000 * np.array(self.seconds or [0.0])
        return {
            "requests": len(self.seconds),
            "per_second": round(len(self.seconds) / wall, 1),
            "p50_ms": round(float(np.percentile(ms, 50)), 2),
            "p90_ms": round(float(np.percentile(ms, 90)), 2),
            "p99_ms": round(float(np.percentile(ms, 99)), 2),
            "max_ms": round(float(ms.max()), 2),
            "failed": self.failed,
            "status": {str(key): n for key, n in sorted(self.status.items())},
        }


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def run(port: int, make: Make, rate: float, seconds: float, connections: int = 8, keep: bool = False) -> Load:
    """Send `rate` requests a second for some seconds; return their answers."""
    return asyncio.run(_run(port, make, rate, seconds, connections, keep))


async def _run(port: int, make: Make, rate: float, seconds: float, connections: int, keep: bool) -> Load:
    load, numbers, start = Load(), itertools.count(), time.perf_counter()
    total = int(rate * seconds)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (number := next(numbers)) < total:
                due = start + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                request = make(number)
                writer.write(request)
                try:
                    status, body = await _answer(reader)
                except (OSError, asyncio.IncompleteReadError):
                    load.failed += 1
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    continue
                load.seconds.append(time.perf_counter() - due)
                load.status[status] += 1
                if keep:
                    load.bodies.append(body)
                    load.sent.append(request.split(b" ", 2)[1].decode())
        finally:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return int(head[9:12]), await reader.readexactly(int(length or 0))
