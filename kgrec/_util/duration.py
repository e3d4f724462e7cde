"""Conversion of durations from and to text."""

from __future__ import annotations

import re

_UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def in_words(seconds: float) -> str:
    """Return a duration in words, such as "40 s", "9 min" or "2.5 h"."""
    if seconds < 120:
        return f"{max(round(seconds), 1)} s"
    if seconds < 120 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def seconds_of(budget: str) -> float:
    """Return the seconds of a budget such as "90s", "2min" or "1h".

    Raises:
        ValueError: the text is not a duration above zero.
    """
    duration = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)\s*", budget)
    if not duration or not float(duration[1]):
        raise ValueError("expected a duration above zero, such as 90s, 2min or 1h")
    return float(duration[1]) * _UNIT_SECONDS[duration[2]]
