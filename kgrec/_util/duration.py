"""Durations in words."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Return a duration as people say it, such as "40 s", "9 min" or "2.5 h"."""
    if seconds < 120:
        return f"{max(round(seconds), 1)} s"
    if seconds < 120 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
