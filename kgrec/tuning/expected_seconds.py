"""About how long the search over settings will take, said before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.base import LogRange, Signal
from kgrec.tuning.budget import SearchBudget

STEPS_OF_A_RANGE: Final = 3
"""Values of a range that a search tries, roughly."""

SLOWER_THAN_DEFAULTS: Final = 2.5
"""A search takes about this many times what its fits would with default settings: larger settings take longer."""


def expected_seconds(kinds: Sequence[type[Signal]], train: GraphSnapshot, search_budget: SearchBudget) -> list[float]:
    """Return about how long each signal's search takes, in seconds.

    Args:
        kinds: the signals that are searched.
        train: the graph that they are fitted on.
        search_budget: what one signal's search may spend.
    """
    return [min(_seconds(kind, train), search_budget.seconds) for kind in kinds]


def _seconds(kind: type[Signal], train: GraphSnapshot) -> float:
    ranges = [
        kind.grid[name] for name in kind.grid if kind.is_relevant(name, train) and name not in kind.inference_params
    ]
    n_fits = 1 + sum(STEPS_OF_A_RANGE if isinstance(values, LogRange) else len(values) for values in ranges)
    return SLOWER_THAN_DEFAULTS * n_fits * kind.cost(kind.Settings(), train)
