"""Time budget of the hyper-parameter search.

Without a time limit, the search of a signal is bounded by the estimated (nominal) cost of its fits and by the number of
interactions, so that the same data and seed give the same result. With a time limit, the wall clock bounds it: no fit
is started that would probably end after the limit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kgrec._util.duration import seconds_of

BASE_SECONDS = 60.0
BEHAVIORS_PER_SECOND = 8_000
"""Without a time limit, a signal's search may take `BASE_SECONDS` + interactions / `BEHAVIORS_PER_SECOND` seconds."""


@dataclass
class SearchBudget:
    """Time that the search of one signal may use.

    Attributes:
        seconds: the limit, in nominal or wall-clock seconds.
        by_clock: True if the limit is in wall-clock seconds.
    """

    seconds: float
    by_clock: bool
    _started: float = field(default_factory=time.perf_counter)
    _nominal: float = 0.0
    _longest: float = 0.0
    _last: float = field(default_factory=time.perf_counter)

    def spend(self, nominal: float) -> None:
        """Record the end of a fit with the given nominal cost, in seconds."""
        now = time.perf_counter()
        self._longest, self._last = max(self._longest, now - self._last), now
        self._nominal += nominal

    def affords(self, nominal: float) -> bool:
        """Return whether another fit with the given nominal cost, in seconds, may start."""
        if self.by_clock:
            return time.perf_counter() - self._started + self._longest <= self.seconds
        return self._nominal + nominal <= self.seconds


class Budget:
    """Divides the time of a fit among the searches of the signals; time that one leaves goes to the next."""

    def __init__(self, budget: str | None, n_behaviors: int) -> None:
        """Start the clock.

        Args:
            budget: a duration for the complete fit, such as "10min"; None: nominal limits by `n_behaviors`.
            n_behaviors: the number of training interactions.
        """
        self._clock = seconds_of(budget) if budget else None
        self._nominal = BASE_SECONDS + n_behaviors / BEHAVIORS_PER_SECOND
        self._started, self._reserved = time.perf_counter(), 0.0

    def search_budget(self, n_left: int) -> SearchBudget:
        """Return the budget of the next signal when `n_left` signals are still to be searched."""
        if self._clock is None:
            return SearchBudget(self._nominal, by_clock=False)
        left = self._clock - (time.perf_counter() - self._started) - self._reserved
        return SearchBudget(max(left, 0.0) / n_left, by_clock=True)

    def affords(self, seconds: float) -> bool:
        """Return whether at least `seconds` of the fit's time are left; always True without a time limit."""
        return self._clock is None or time.perf_counter() - self._started + seconds <= self._clock

    def reserve(self, seconds: float) -> None:
        """Reserve seconds for the steps after the search: learning the blend, and refitting the tuned signals."""
        self._reserved += seconds
