"""Budget: how much of the search over settings a fit may do.

Without a budget the data's size decides, by the nominal cost of a fit, so that the same data and seed always give the
same result. With one the clock decides: no fit is started that would most likely end too late.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kgrec._util.duration import seconds_of

BASE_SECONDS = 60.0
BEHAVIORS_PER_SECOND = 8_000
"""Without a budget a signal's search may cost `BASE_SECONDS`, and a second for every so many behaviors."""


@dataclass
class SearchBudget:
    """What one signal's search may still spend.

    Attributes:
        seconds: nominal, or of the clock.
        by_clock: which of the two.
    """

    seconds: float
    by_clock: bool
    _started: float = field(default_factory=time.perf_counter)
    _nominal: float = 0.0
    _longest: float = 0.0
    _last: float = field(default_factory=time.perf_counter)

    def spend(self, nominal: float) -> None:
        """Note that a fit of a nominal cost, in seconds, has ended."""
        now = time.perf_counter()
        self._longest, self._last = max(self._longest, now - self._last), now
        self._nominal += nominal

    def affords(self, nominal: float) -> bool:
        """Say whether another fit of a nominal cost, in seconds, may start."""
        if self.by_clock:
            return time.perf_counter() - self._started + self._longest <= self.seconds
        return self._nominal + nominal <= self.seconds


class Budget:
    """Shares time between the signals' searches; what one does not use passes on to the next."""

    def __init__(self, budget: str | None, n_behaviors: int) -> None:
        """Start the clock.

        Args:
            budget: a duration for the whole fit; None lets `n_behaviors` decide.
            n_behaviors: how many there are to learn from.
        """
        self._clock = seconds_of(budget) if budget else None
        self._nominal = BASE_SECONDS + n_behaviors / BEHAVIORS_PER_SECOND
        self._started, self._reserved = time.perf_counter(), 0.0

    def search_budget(self, n_left: int) -> SearchBudget:
        """Return what the next of `n_left` signals may spend."""
        if self._clock is None:
            return SearchBudget(self._nominal, by_clock=False)
        left = self._clock - (time.perf_counter() - self._started) - self._reserved
        return SearchBudget(max(left, 0.0) / n_left, by_clock=True)

    def affords(self, seconds: float) -> bool:
        """Say whether so many seconds are left of the whole; always where no clock counts."""
        return self._clock is None or time.perf_counter() - self._started + seconds <= self._clock

    def reserve(self, seconds: float) -> None:
        """Keep seconds back for what comes after the search: the blend, and fitting the chosen signals again."""
        self._reserved += seconds
