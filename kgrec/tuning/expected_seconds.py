"""Estimate of the duration of a hyper-parameter search, for the progress display."""

from __future__ import annotations

from typing import Final

from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.base import LogRange, Signal
from kgrec.tuning.budget import SearchBudget

STEPS_OF_A_RANGE: Final = 3
"""Approximate number of values of a range that a search tries."""

SLOWER_THAN_DEFAULTS: Final = 2.5
"""Approximate ratio of a search's duration to that of as many fits with the default settings."""


def expected_seconds(kind: type[Signal], train: GraphSnapshot, search_budget: SearchBudget) -> float:
    """Return the estimated duration of a signal's search, in seconds.

    Args:
        kind: the signal to be tuned.
        train: the graph that it is fitted on.
        search_budget: the limit of the search.
    """
    return min(_seconds(kind, train), search_budget.seconds)


def _seconds(kind: type[Signal], train: GraphSnapshot) -> float:
    ranges = [
        kind.grid[name] for name in kind.grid if kind.is_relevant(name, train) and name not in kind.inference_params
    ]
    n_fits = 1 + sum(STEPS_OF_A_RANGE if isinstance(values, LogRange) else len(values) for values in ranges)
    return SLOWER_THAN_DEFAULTS * n_fits * kind.cost(kind.Settings(), train)
