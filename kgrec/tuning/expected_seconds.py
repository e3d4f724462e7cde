"""Estimate of the duration of a hyper-parameter search, for the progress display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.base import LogRange, Signal
from kgrec.tuning.budget import SearchBudget

STEPS_OF_A_RANGE: Final = 3
"""Approximate number of values of a range that a search tries."""

SLOWER_THAN_DEFAULTS: Final = 2.5
"""Approximate ratio of a search's duration to that of as many fits with the default settings."""


def expected_seconds(kinds: Sequence[type[Signal]], train: GraphSnapshot, search_budget: SearchBudget) -> list[float]:
    """Return the estimated duration of each signal's search, in seconds.

    Args:
        kinds: the signals to be tuned.
        train: the graph that they are fitted on.
        search_budget: the limit for one signal's search.
    """
    return [min(_seconds(kind, train), search_budget.seconds) for kind in kinds]


def _seconds(kind: type[Signal], train: GraphSnapshot) -> float:
    ranges = [
        kind.grid[name] for name in kind.grid if kind.is_relevant(name, train) and name not in kind.inference_params
    ]
    n_fits = 1 + sum(STEPS_OF_A_RANGE if isinstance(values, LogRange) else len(values) for values in ranges)
    return SLOWER_THAN_DEFAULTS * n_fits * kind.cost(kind.Settings(), train)
