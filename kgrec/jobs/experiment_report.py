"""Report of an A/B test: events per user of each arm, against the control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import chisquare

from kgrec.events.exposures import exposures
from kgrec.events.intake import logged_events

NORMAL_95: Final = 1.959964
"""Half-width of a 95 % interval in standard errors."""
MIN_RATIO_P: Final = 0.001
"""p-value of the sample-ratio check below which the assignment is faulty."""


def report(folder: Path, experiment: str, shares: Mapping[str, float]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the results of an experiment, and the check of its sample ratio.

    An event counts for a user's arm from the user's first exposure on. The interval of a difference is that of Welch,
    "The generalization of Student's problem", Biometrika 1947, for many users.

    Args:
        folder: folder of events.
        experiment: name of the experiment.
        shares: arm → its share of the users; the first is the control.

    Returns:
        One row for each arm and behavior: arm, behavior, users, events, per_user, and against the control difference,
        low, high (95 % interval); and "users": arm → users, "p_value" of the sample ratio, "is_faulty".
    """
    first: dict[str, tuple[str, float]] = {}
    for shown in exposures(folder, experiment):
        first.setdefault(shown.user_id, (shown.arm, shown.timestamp))
    counts: dict[str, Counter[str]] = {}
    for event in logged_events(folder):
        if event.user_id in first and event.timestamp >= first[event.user_id][1]:
            counts.setdefault(event.behavior, Counter())[event.user_id] += 1
    users = {arm: [user for user, (of, _) in first.items() if of == arm] for arm in shares}
    rows = [row for behavior, of in sorted(counts.items()) for row in _rows(behavior, of, users)]
    columns = ["arm", "behavior", "users", "events", "per_user", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns), _sample_ratio(users, shares)


def _rows(behavior: str, count: Counter[str], users: Mapping[str, list[str]]) -> list[tuple[Any, ...]]:
    values = {arm: np.array([count[user] for user in of], dtype=np.float64) for arm, of in users.items() if of}
    rows: list[tuple[Any, ...]] = []
    control: np.ndarray[Any, Any] | None = None
    for arm, own in values.items():
        against = (None, None, None) if control is None else _difference(own, control)
        control = own if control is None else control
        rows.append((arm, behavior, len(own), int(own.sum()), float(own.mean()), *against))
    return rows


def _difference(own: Any, control: Any) -> tuple[float, float, float]:
    """Return the difference of two means with its 95 % interval."""
    difference = float(own.mean() - control.mean())
    error = float(np.sqrt(sum(part.var(ddof=1) / len(part) if len(part) > 1 else np.inf for part in (own, control))))
    return difference, difference - NORMAL_95 * error, difference + NORMAL_95 * error


def _sample_ratio(users: Mapping[str, list[str]], shares: Mapping[str, float]) -> dict[str, Any]:
    """Return the users of each arm, and the p-value of their numbers under the shares."""
    found = np.array([len(users[arm]) for arm in shares])
    p_value = float(chisquare(found, found.sum() * np.array(list(shares.values()))).pvalue) if found.sum() else 1.0
    return {
        "users": dict(zip(shares, found.tolist(), strict=True)),
        "p_value": p_value,
        "is_faulty": p_value < MIN_RATIO_P,
    }
