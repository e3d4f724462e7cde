"""Data audit: rows, users, timestamps, nodes and days of a graph that look like mistakes, before a model is trained."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from kgrec._util.types import DoubleArray, IntArray
from kgrec.data.noise import noise
from kgrec.data.outliers import OUTLIER_DEVIATIONS, far_above, has_clock, robust_deviation
from kgrec.data.snapshot import GraphSnapshot

COLUMNS: Final = ["level", "kind", "label", "id", "detail"]
LEVELS: Final = {
    "duplicate": "error",
    "future": "error",
    "near duplicate": "warning",
    "bot-like": "warning",
    "contradiction": "warning",
    "hub": "warning",
    "volume": "warning",
    "orphan": "warning",
}
"""Kind → level. A user without relationships gets "info" instead: a customer without purchases is not an error."""

CLOCK_LEEWAY_SECONDS: Final = 3600.0
"""Tolerated clock skew: a behavior up to this many seconds in the future is not reported."""
SUDDEN_CHANGE_FACTOR: Final = 2.0
"""A volume change is reported if the count is at least this many times the median, or at most its inverse."""
DAY_SECONDS: Final = 86_400.0
PERIODS: Final = (("day", DAY_SECONDS, 28), ("week", 7 * DAY_SECONDS, 8))
"""(name, length in seconds, number of preceding periods that a period is compared with)."""


def audit(graph: GraphSnapshot, now: float | None = None) -> pd.DataFrame:
    """Return the anomalies of a graph, one row each, with a level: "error" (cannot be correct), "warning" (may be a
    mistake) or "info".

    - "duplicate", "near duplicate", "bot-like", "contradiction": see `kgrec.data.noise.noise`.
    - "future": a behavior with a time later than `now`.
    - "orphan": a node without any relationship.
    - "hub": a node, not of a user, with far more relationships of one type and direction than others of its label: the
      logarithm of its degree exceeds the median by six median absolute deviations, as for bot-like users.
    - "volume": a day or week with at least twice, or at most half, as many behaviors as the median of the 28 days or
      8 weeks before, and six deviations away on a square-root scale, which makes the variance of counts constant.

    Times are checked only if they are epoch seconds.

    Args:
        graph: the graph.
        now: epoch seconds; None is the current time.

    Returns:
        Columns level, kind, label (the node's label, the behavior's type or "behavior", "day" or "week"), id (of the
        node, of user and item, or a date), detail.
    """
    parts = [_noise(graph), _future(graph, time.time() if now is None else now)]
    parts += [_orphans(graph), _hubs(graph), _volume(graph)]
    findings = pd.concat([pd.DataFrame(columns=COLUMNS), *(part for part in parts if len(part))], ignore_index=True)
    of_user = (findings["kind"] == "orphan") & findings["label"].isin(graph.schema.roles.users)
    findings["level"] = findings["kind"].map(LEVELS).mask(of_user, "info")
    return findings


def _noise(graph: GraphSnapshot) -> pd.DataFrame:
    findings = noise(graph).drop_duplicates(["kind", "user_id", "item_id"])
    labels = graph.present(graph.schema.roles.users)
    of_user = np.repeat(np.array(labels, dtype=object), [graph.nodes[label].num_rows for label in labels])
    alone = findings["item_id"] == ""
    label = np.where(alone, of_user[graph.users.nums(findings["user_id"])], "behavior")
    ids = (findings["user_id"] + " " + findings["item_id"]).where(~alone, findings["user_id"])
    return pd.DataFrame({"kind": findings["kind"], "label": label, "id": ids, "detail": findings["detail"]})


def _future(graph: GraphSnapshot, now: float) -> pd.DataFrame:
    times = graph.behaviors.time
    late = np.nan_to_num(times, nan=-np.inf) > now + CLOCK_LEEWAY_SECONDS
    late &= has_clock(graph.behaviors)
    return _of_behaviors(graph, "future", late, "at " + _dates(times[late], "s"))


def _orphans(graph: GraphSnapshot) -> pd.DataFrame:
    linked = np.zeros(graph.n_nodes, bool)
    for (source, _, target), edges in graph.edges.items():
        linked[edges.src_num + graph.offsets[source]] = True
        linked[edges.dst_num + graph.offsets[target]] = True
    parts = [pd.DataFrame(columns=COLUMNS[1:])]
    for label, table in graph.nodes.items():
        start = graph.offsets[label]
        lone = np.flatnonzero(~linked[start : start + table.num_rows])
        parts.append(_of_nodes(graph, "orphan", label, lone, ["no relationship"] * len(lone)))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _hubs(graph: GraphSnapshot) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=COLUMNS[1:])]
    for (source, type_, target), edges in graph.edges.items():
        for label, nums, way in ((source, edges.src_num, "from"), (target, edges.dst_num, "to")):
            if label in graph.schema.roles.users:
                continue
            degree = np.bincount(nums, minlength=graph.nodes[label].num_rows)
            far, median = np.flatnonzero(far_above(degree)), np.median(degree[degree > 0])
            detail = [f"{n:,} {type_} {way} it; the median is {median:g}" for n in degree[far]]
            parts.append(_of_nodes(graph, "hub", label, far, detail))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _volume(graph: GraphSnapshot) -> pd.DataFrame:
    times = graph.behaviors.time[np.isfinite(graph.behaviors.time)]
    parts = [pd.DataFrame(columns=COLUMNS[1:])]
    for name, seconds, before in PERIODS if has_clock(graph.behaviors) else ():
        # Weeks begin on a Monday, and 1970 on a Thursday.
        period = np.floor((times + (3 * DAY_SECONDS if name == "week" else 0)) / seconds).astype(np.int64)
        counts = np.bincount(period - period.min())[:-1]  # the last period is not complete
        sudden, usual = _sudden_changes(counts, before)
        start = (sudden + period.min()) * seconds - (3 * DAY_SECONDS if name == "week" else 0)
        detail = [f"{n:,} in a {name}, usually {m:g}" for n, m in zip(counts[sudden], usual[sudden], strict=True)]
        parts.append(pd.DataFrame({"kind": "volume", "label": name, "id": _dates(start, "D"), "detail": detail}))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _sudden_changes(counts: IntArray, before: int) -> tuple[IntArray, DoubleArray]:
    """Return the periods where volume changes, and the median before each period; a lasting change is reported once."""
    if len(counts) <= before:
        return np.empty(0, np.int64), np.empty(0)
    usual = np.full(len(counts), np.nan)
    usual[before:] = np.median(sliding_window_view(counts, before)[:-1], axis=1)
    far = np.nan_to_num(2 * (np.sqrt(counts) - np.sqrt(usual)))
    spread = max(robust_deviation(far[before:], 0.0), 1.0)
    changed = (counts >= SUDDEN_CHANGE_FACTOR * usual) | (counts <= usual / SUDDEN_CHANGE_FACTOR)
    side = np.where(changed & (np.abs(far) > OUTLIER_DEVIATIONS * spread), np.sign(far), 0)
    return np.flatnonzero((side != 0) & (side != np.r_[0, side[:-1]])), usual


def _dates(seconds: DoubleArray, unit: Any) -> npt.NDArray[np.object_]:
    return np.datetime_as_string(seconds.astype("datetime64[s]"), unit=unit).astype(object)


def _of_nodes(graph: GraphSnapshot, kind: str, label: str, nums: IntArray, detail: list[str]) -> pd.DataFrame:
    ids = np.asarray(graph.ids(label), dtype=object)[nums]
    return pd.DataFrame({"kind": kind, "label": label, "id": ids, "detail": detail})


def _of_behaviors(graph: GraphSnapshot, kind: str, which: npt.NDArray[Any], detail: Any) -> pd.DataFrame:
    rows, types = graph.behaviors.where(which), np.array(list(graph.schema.roles.behaviours), dtype=object)
    ids = graph.users.ids[rows.user_num] + " " + graph.items.ids[rows.item_num]
    columns = {"kind": kind, "label": types[rows.type_num], "id": ids, "detail": np.asarray(detail, dtype=object)}
    return pd.DataFrame(columns)
