"""Limits of the service: sizes of what it takes, and the rate of a key."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Final

MAX_BODY_BYTES: Final = 1 << 20
MAX_K: Final = 1_000
MAX_EVENTS: Final = 1_000
MAX_EXCLUDED: Final = 200
MAX_ID_LENGTH: Final = 256
MAX_TEXT_LENGTH: Final = 2_000
MAX_QUERY_SECONDS: Final = 5.0
MAX_QUERY_ROWS: Final = 10_000
BODY_SECONDS: Final = 10.0
"""Seconds within which a body must arrive."""
BURST_SECONDS: Final = 1.0
"""Seconds of its rate that a key may use at once."""
FUTURE_SECONDS: Final = 300.0
"""Allowed clock difference: an event that is later than now by more is rejected."""


@dataclass
class Rate:
    """A token bucket: requests that a key may make now, refilled by its rate.

    Attributes:
        per_second: requests per second.
    """

    per_second: float

    def __post_init__(self) -> None:
        self._most = max(1.0, self.per_second * BURST_SECONDS)
        self._left, self._at, self._lock = self._most, time.monotonic(), threading.Lock()

    def take(self) -> int:
        """Take one request; return 0, or the seconds after which to try again."""
        with self._lock:
            now = time.monotonic()
            self._left, self._at = min(self._most, self._left + (now - self._at) * self.per_second), now
            if self._left >= 1:
                self._left -= 1
                return 0
            return math.ceil((1 - self._left) / self.per_second)
