"""The settings at the ends of a signal's grid, for tests that every one of them fits."""

from __future__ import annotations

from kgrec.signals.base import LogRange, Signal, SignalSettings


def settings_of_grid(kind: type[Signal]) -> list[SignalSettings]:
    """Return the defaults with each setting in turn at every value of its grid, or at both ends of its ladder."""
    found = []
    for name, values in kind.grid.items():
        ends = (values.low, values.high) if isinstance(values, LogRange) else values
        whole = isinstance(getattr(kind.Settings(), name), int)
        found += [kind.Settings.model_validate({name: int(end) if whole else end}) for end in ends]
    return found
