"""Groups of users, and of items, by their number of train behaviors: the hybrid beside popularity in each.

A mean over all users hides a group that a model fails on, such as new users where most have a long history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from kgrec._util.notices import notice
from kgrec._util.types import BoolArray, DoubleArray
from kgrec.evaluation.measured import Measured
from kgrec.hybrid.model import HYBRID
from kgrec.metrics.ranking import Metric, hits_of
from kgrec.metrics.significance import bootstrap_interval, clearly_better

POPULARITY: Final = "popularity"
MIN_GROUP_USERS: Final = 50
"""Users of a group from which on it is compared with popularity in a warning."""
GROUPS: Final[Mapping[str, tuple[int, float]]] = {"0": (0, 0), "1": (1, 1), "2–4": (2, 4), "5+": (5, np.inf)}
"""Name of a group → the fewest and the most behaviors of its members."""


def group_metrics(measured: Mapping[str, Measured], metric: Metric, seed: int = 0) -> dict[str, Any]:
    """Return each group's metrics by the hybrid and by popularity, as JSON-ready values; empty without popularity.

    A group of items counts the users with a test item in it, and its test items alone.

    Args:
        measured: domain → rankings and metrics.
        metric: the metric, at most at the length of the lists.
        seed: makes the intervals repeat.

    Returns:
        Group, such as "users of 0 behaviors" → "users", "hybrid" and "popularity" (means), "gain" (of the hybrid, with
        its 95 % interval) and "worse" (whether it is clearly worse).
    """
    if any(POPULARITY not in of.rankings for of in measured.values()):
        return {}
    groups: dict[str, list[tuple[DoubleArray, DoubleArray]]] = {}
    for of in measured.values():
        for name, relevant in _relevant_by_group(of):
            groups.setdefault(name, []).append(_reached(of, sp.csr_matrix(relevant), metric))
    joined = {name: [np.concatenate(part) for part in zip(*parts, strict=True)] for name, parts in groups.items()}
    return {name: _compared(values[0], values[1], seed) for name, values in joined.items() if len(values[0])}


def groups_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Return the groups of a summary of metrics: group, users, NDCG of the hybrid and of popularity, gain."""
    groups, metric = summary["groups"], [name for name in summary["models"][HYBRID] if name.startswith("NDCG")][-1]
    rows = [
        (name, of["users"], of[HYBRID], of[POPULARITY], "{:+.4f} ({:+.4f} … {:+.4f})".format(*of["gain"]))
        for name, of in groups.items()
    ]
    return pd.DataFrame(rows, columns=["group", "users", f"{metric} {HYBRID}", f"{metric} {POPULARITY}", "gain"])


def warn_of_worse_groups(groups: Mapping[str, Any]) -> None:
    """Issue a notice of one line that names the groups which the hybrid serves clearly worse than popularity."""
    worse = [
        f"{name} ({of[HYBRID]:.4f}, by popularity {of[POPULARITY]:.4f})"
        for name, of in groups.items()
        if of["worse"] and of["users"] >= MIN_GROUP_USERS
    ]
    if worse:
        notice(f"worse than popularity: {'; '.join(worse)}")


def _relevant_by_group(of: Measured) -> Iterator[tuple[str, sp.csr_matrix]]:
    """Yield the name of each group, and its test items, CSR [n, n_items]."""
    for name, (low, high) in GROUPS.items():
        users = (of.n_of_user >= low) & (of.n_of_user <= high)
        yield f"users of {name} behaviors", _diagonal(users) @ of.relevant
    for name, (low, high) in GROUPS.items():
        items = (of.n_of_item >= low) & (of.n_of_item <= high)
        yield f"items of {name} behaviors", of.relevant @ _diagonal(items)


def _diagonal(kept: BoolArray) -> sp.csr_matrix:
    kept_num = np.flatnonzero(kept)
    return sp.csr_matrix((np.ones(len(kept_num), np.float32), (kept_num, kept_num)), shape=(len(kept), len(kept)))


def _reached(of: Measured, relevant: sp.csr_matrix, metric: Metric) -> tuple[DoubleArray, DoubleArray]:
    """Return the metric of the users with a relevant item, float64 [users], by the hybrid and by popularity."""
    n_relevant = np.diff(relevant.indptr)
    asked = n_relevant > 0
    by_hybrid, by_popularity = (
        metric.of_hits(hits_of(of.rankings[name], relevant), n_relevant)[asked] for name in (HYBRID, POPULARITY)
    )
    return by_hybrid, by_popularity


def _compared(by_hybrid: DoubleArray, by_popularity: DoubleArray, seed: int) -> dict[str, Any]:
    gain = by_hybrid - by_popularity
    return {
        "users": len(gain),
        HYBRID: round(float(by_hybrid.mean()), 6),
        POPULARITY: round(float(by_popularity.mean()), 6),
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=seed)],
        "worse": clearly_better(by_popularity, by_hybrid),
    }
