"""Time budget of the hyper-parameter search.

Without a time limit, the search of a signal is bounded by the estimated (nominal) cost of its fits and by the number of
interactions, so that the same data and seed give the same result. With a time limit, the wall clock bounds it: no fit
is started that would probably end after the limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kgrec._util.duration import seconds_of
from kgrec.config import Effort

BASE_SECONDS: Final = 60.0
BEHAVIORS_PER_SECOND: Final = 8_000
"""Without a time limit, the search of each signal may take `BASE_SECONDS` + interactions / `BEHAVIORS_PER_SECOND`
seconds with the effort "best"."""
BALANCED_SECONDS: Final = 8.0
BALANCED_BEHAVIORS_PER_SECOND: Final = 15_000
"""The same for the searches of all signals together with the effort "balanced"."""
SHORT_SHARE: Final = 0.5
"""Share of a time limit that a signal may take even if the limit has passed."""


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

    @property
    def used(self) -> float:
        """Nominal seconds used."""
        return self._nominal

    def affords(self, nominal: float) -> bool:
        """Return whether another fit with the given nominal cost, in seconds, may start."""
        if self.by_clock:
            return time.perf_counter() - self._started + self._longest <= self.seconds
        return self._nominal + nominal <= self.seconds


class Budget:
    """Divides the time of a fit among the searches of the signals; time that one leaves goes to the next."""

    def __init__(self, budget: str | None, n_behaviors: int, effort: Effort = "best") -> None:
        """Start the clock.

        Args:
            budget: a duration for the complete fit, such as "10min"; None: nominal limits by `n_behaviors`.
            n_behaviors: the number of training interactions.
            effort: see `Config`; "fast" leaves no time for a search.
        """
        self.effort: Effort = effort
        self._clock = seconds_of(budget) if budget else None
        self._nominal = BASE_SECONDS + n_behaviors / BEHAVIORS_PER_SECOND
        self._left = BALANCED_SECONDS + n_behaviors / BALANCED_BEHAVIORS_PER_SECOND
        self._started, self._reserved = time.perf_counter(), 0.0

    def search_budget(self, share: float) -> SearchBudget:
        """Return the budget of the next signal, a share of what is left for it and the signals after it.

        Without a time limit, the effort "best" gives every signal the same, whatever the share.
        """
        if self.effort == "fast":
            return SearchBudget(0.0, by_clock=False)
        if self._clock is not None:
            left = self._clock - (time.perf_counter() - self._started) - self._reserved
            return SearchBudget(max(left, 0.0) * share, by_clock=True)
        return SearchBudget(self._nominal if self.effort == "best" else self._left * share, by_clock=False)

    def settle(self, search_budget: SearchBudget) -> None:
        """Take what a search has used from what is left for the others."""
        self._left -= search_budget.used

    def affords(self, seconds: float) -> bool:
        """Return whether at least `seconds` of the fit's time are left; always True without a time limit."""
        return self._clock is None or time.perf_counter() - self._started + seconds <= self._clock

    def leaves(self, seconds: float) -> bool:
        """Return whether something as long as `seconds` is worth starting: it is short, or the time is there for it."""
        return self._clock is None or seconds <= self._clock * SHORT_SHARE or self.affords(seconds)

    def reserve(self, seconds: float) -> None:
        """Reserve seconds for the steps after the search: learning the blend, and refitting the tuned signals."""
        self._reserved += seconds


def search_shares(names: Sequence[str], worth: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each signal's search in the time that is left for it and those after it.

    Half of the time is shared equally, since a signal may do better with other settings; half by worth.

    Args:
        names: the signals in the order of their searches.
        worth: signal → what it brings to the blend; empty for equal shares.
    """
    total = sum(worth.get(name, 0.0) for name in names)
    parts = [1 / len(names) + (worth.get(name, 0.0) / total if total else 0.0) for name in names]
    left = [sum(parts[place:]) for place in range(len(parts))]
    return {name: part / rest for name, part, rest in zip(names, parts, left, strict=True)}
