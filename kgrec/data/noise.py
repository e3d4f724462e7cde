"""Noise in behaviors: repetitions, bot-like users, and contradicting ratings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.config import Noise
from kgrec.data.edges import Behaviors
from kgrec.data.outliers import far_above, has_clock
from kgrec.data.snapshot import GraphSnapshot

Texts = npt.NDArray[np.object_]

NEAR_DUPLICATE_SECONDS: Final = 10.0
"""Seconds within which a repeated behavior is a near duplicate, such as a double click or a page reload."""
MIN_GAPS: Final = 20
"""Minimum number of gaps between a user's behaviors for the regularity rule."""
REGULAR_GAP_SHARE: Final = 0.9
"""Minimum share of gaps within 5 % of the user's median gap that marks a user as bot-like."""
NEARLY_ALL_SHARE: Final = 0.9
"""Minimum share of all items that marks a user as bot-like, if there are at least `MIN_CATALOG_ITEMS` items."""
MIN_CATALOG_ITEMS: Final = 100
MAX_GRADE_LEVELS: Final = 20
"""Maximum number of distinct weights of a grade scale; a type with more has amounts, such as seconds."""
NOISE_CONFIDENCE: Final = 0.5
"""Confidence of noisy behaviors with `noise=weigh`; other behaviors have 1."""
NEGATIONS: Final = ("DIS", "UN", "NOT_")
"""Prefixes that turn the name of a behavior type into its opposite: LIKED, DISLIKED."""


def noise(snapshot: GraphSnapshot) -> pd.DataFrame:
    """Return behaviors and users that carry little information about preferences.

    - "duplicate": a repeated user, item, type and time. "near duplicate": a repetition within 10 seconds.
    - "bot-like": a user with far more behaviors than others, or far more within one second (the logarithm exceeds the
      median by six median absolute deviations: Leys et al., J. Exp. Soc. Psychol. 2013), with nearly equal gaps between
      behaviors, or with nearly all items.
    - "contradiction": a grade in the highest and one in the lowest quarter of the scale for the same user and item, or
      types with opposite names, such as LIKED and DISLIKED.

    Rules that need seconds apply only if times are epoch seconds.

    Returns:
        Columns kind, user_id, item_id ("" for a bot-like user), count (repeated behaviors, behaviors of the user, or
        contradicting behaviors), detail; kinds in this order, each sorted by descending count.
    """
    gaps = _gaps(snapshot.behaviors)
    near = (gaps > 0) & (gaps <= _near(snapshot.behaviors))
    parts = [
        _repetitions(snapshot, gaps == 0, "at the same time").assign(kind="duplicate"),
        _repetitions(snapshot, near, f"within {NEAR_DUPLICATE_SECONDS:g} seconds").assign(kind="near duplicate"),
        _bots(snapshot).assign(kind="bot-like", item_id=""),
        _contradictions(snapshot).assign(kind="contradiction"),
    ]
    ordered = [part.sort_values("count", ascending=False, kind="stable") for part in parts]
    return pd.concat(ordered, ignore_index=True)[["kind", "user_id", "item_id", "count", "detail"]]


def is_noise(snapshot: GraphSnapshot) -> BoolArray:
    """Return a mask of the behaviors that can be left out, bool [n behaviors].

    The latest of repeated or contradicting behaviors is kept, so that its item still counts as seen. All behaviors of a
    bot-like user are marked.
    """
    behaviors = snapshot.behaviors
    repeated = _gaps(behaviors) <= _near(behaviors)
    bots = np.any([is_bot for is_bot, _ in _bot_rules(snapshot)], axis=0)
    overruled = _contradict(snapshot)
    overruled[overruled] = np.isfinite(_gaps(behaviors.where(overruled), by_type=False))
    return np.asarray(repeated | bots[behaviors.user_num] | overruled)


def without_noise(snapshot: GraphSnapshot, how: Noise = "drop") -> GraphSnapshot:
    """Return the graph to train on, with noise handled; the same object if `is_noise` marks no behavior.

    Args:
        snapshot: the graph.
        how: "drop" removes noisy behaviors, "weigh" gives them the confidence `NOISE_CONFIDENCE`, "keep" changes
            nothing.
    """
    if how == "keep":
        return snapshot
    noisy = is_noise(snapshot)
    if not noisy.any():
        return snapshot
    if how == "weigh":
        return snapshot.with_confidence(np.where(noisy, NOISE_CONFIDENCE, 1).astype(np.float32))
    return snapshot.with_behaviors(~noisy)


def _repetitions(snapshot: GraphSnapshot, rows: BoolArray, when: str) -> pd.DataFrame:
    by_pair = _named(snapshot, snapshot.behaviors.where(rows)).groupby(["user_id", "item_id", "type"], sort=False)
    repeated = by_pair.size().rename("count").reset_index()
    return repeated.assign(detail=repeated["type"].astype(str) + f" more than once {when}")


def _bots(snapshot: GraphSnapshot) -> pd.DataFrame:
    counts = np.bincount(snapshot.behaviors.user_num, minlength=snapshot.n_users)
    ids = snapshot.users.ids
    parts = [
        pd.DataFrame({"user_id": ids[is_bot], "count": counts[is_bot], "detail": detail[is_bot]})
        for is_bot, detail in _bot_rules(snapshot)
    ]
    return pd.concat(parts)


def _contradictions(snapshot: GraphSnapshot) -> pd.DataFrame:
    behaviors = snapshot.behaviors.where(_contradict(snapshot))
    behaviors = behaviors.where(np.argsort(behaviors.time, kind="stable"))
    named = _named(snapshot, behaviors)
    named["detail"] = named["type"].astype(str) + pd.Series(behaviors.weight).map(" {:g}".format).astype(str)
    by_pair = named.groupby(["user_id", "item_id"], sort=False)["detail"]
    return by_pair.agg(count="size", detail=", then ".join).reset_index()


def _named(snapshot: GraphSnapshot, behaviors: Behaviors) -> pd.DataFrame:
    """Return behaviors as rows of user_id, item_id and type."""
    types = np.array(list(snapshot.schema.roles.behaviours), dtype=object)
    return pd.DataFrame(
        {
            "user_id": snapshot.users.ids[behaviors.user_num],
            "item_id": snapshot.items.ids[behaviors.item_num],
            "type": types[behaviors.type_num],
        }
    )


def _gaps(behaviors: Behaviors, *, by_type: bool = True) -> DoubleArray:
    """Return seconds until the user's next behavior with the same item [n]; 0 without times, inf for the last one.

    Args:
        behaviors: n rows.
        by_type: whether the next behavior must have the same type.
    """
    kind = behaviors.type_num if by_type else np.zeros(len(behaviors), np.int64)
    time = np.nan_to_num(behaviors.time)
    order = np.lexsort((time, kind, behaviors.item_num, behaviors.user_num))
    keys = np.stack([behaviors.user_num, behaviors.item_num, kind])[:, order]
    again = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    gaps = np.full(len(behaviors), np.inf)
    gaps[order[:-1][again]] = np.diff(time[order])[again]
    return gaps


def _near(behaviors: Behaviors) -> float:
    """Return the number of seconds for near duplicates; 0 if times are only an order."""
    return NEAR_DUPLICATE_SECONDS if has_clock(behaviors) else 0.0


def _bot_rules(snapshot: GraphSnapshot) -> list[tuple[BoolArray, Texts]]:
    """Return for each rule a mask of the users it marks as bot-like, and the detail text of each user, [n_users]."""
    behaviors, n = snapshot.behaviors, snapshot.n_users
    timed = behaviors.where(np.isfinite(behaviors.time))
    counts = np.bincount(behaviors.user_num, minlength=n).astype(np.float64)
    items = np.diff(snapshot.interactions.indptr)
    nearly_all = (items >= NEARLY_ALL_SHARE * snapshot.n_items) & (snapshot.n_items >= MIN_CATALOG_ITEMS)
    rules = [
        (far_above(counts), _each("{:.0f} behaviors; the median is {:.0f}", counts, _median(counts))),
        (nearly_all, _each("{} of all {} items", items, snapshot.n_items)),
    ]
    # Times rounded to minutes or days cannot show bursts or regular gaps.
    if has_clock(behaviors, resolution=60):
        burst, (regular, gap) = _largest_bursts(timed, n), _regularity(timed, n)
        rules += [
            (far_above(burst), _each("{:.0f} within one second; the median is {:.0f}", burst, _median(burst))),
            (regular >= REGULAR_GAP_SHARE, _each("{:.0%} of all gaps are about {:g} seconds", regular, gap)),
        ]
    return rules


def _each(template: str, *values: Any) -> Texts:
    """Return a template filled in for every user."""
    return np.asarray(np.frompyfunc(template.format, len(values), 1)(*values), dtype=object)


def _median(values: DoubleArray) -> float:
    """Return the median of the positive values; 0 if there are none."""
    return float(np.median(values[values > 0])) if values.any() else 0.0


def _largest_bursts(behaviors: Behaviors, n_users: int) -> DoubleArray:
    """Return each user's largest number of behaviors with the same epoch second [n_users]."""
    moment = np.floor(behaviors.time).astype(np.int64) * n_users + behaviors.user_num
    moments, counts = np.unique(moment, return_counts=True)
    largest = np.zeros(n_users)
    np.maximum.at(largest, moments % n_users, counts)
    return largest


def _regularity(behaviors: Behaviors, n_users: int) -> tuple[DoubleArray, DoubleArray]:
    """Return the share of each user's gaps within 5 % of the user's median gap, and that gap in seconds [n_users].

    The share is 0 for users with fewer than `MIN_GAPS` gaps or with a median gap of 0.
    """
    order = np.lexsort((behaviors.time, behaviors.user_num))
    user_num, gap = behaviors.user_num[order], np.diff(behaviors.time[order])
    rows = pd.DataFrame({"user": user_num[1:], "gap": gap})[user_num[1:] == user_num[:-1]]
    middle = rows.groupby("user")["gap"].transform("median")
    alike = ((rows["gap"] - middle).abs() <= 0.05 * middle) & (middle > 0)
    of_user = alike.groupby(rows["user"]).agg(["mean", "size"])
    share, median = np.zeros(n_users), np.zeros(n_users)
    share[of_user.index] = of_user["mean"].where(of_user["size"] >= MIN_GAPS, 0)
    median[rows["user"]] = middle
    return share, median


def _contradict(snapshot: GraphSnapshot) -> BoolArray:
    """Mark the positive and negative behaviors [n] of each (user, item) pair that has both."""
    behaviors, verdict = snapshot.behaviors, _verdicts(snapshot)
    pair = behaviors.user_num * snapshot.n_items + behaviors.item_num
    both = np.intersect1d(pair[verdict > 0], pair[verdict < 0])
    return np.asarray(np.isin(pair, both) & (verdict != 0))


def _verdicts(snapshot: GraphSnapshot) -> IntArray:
    """Return whether each behavior is positive (1), negative (-1) or neither (0), int64 [n]."""
    behaviors, names = snapshot.behaviors, list(snapshot.schema.roles.behaviours)
    verdict = np.zeros(len(behaviors), dtype=np.int64)
    opposites = {word + name: name for name in names for word in NEGATIONS if word + name in names}
    for num, name in enumerate(names):
        rows = behaviors.type_num == num
        if name in opposites or name in opposites.values():
            verdict[rows] = -1 if name in opposites else 1
        elif rows.any():
            verdict[rows] = _of_grades(behaviors.weight[rows])
    return verdict


def _of_grades(weight: FloatArray) -> IntArray:
    """Return 1 for the highest quarter of a grade scale, -1 for the lowest, else 0 [n]; all 0 for amounts."""
    low, high = np.quantile([weight.min(), weight.max()], [0.25, 0.75])
    # Amounts have many distinct values, or most of them near the minimum; grades do not.
    if len(np.unique(weight)) > MAX_GRADE_LEVELS or np.median(weight) <= low:
        return np.zeros(len(weight), dtype=np.int64)
    return np.where(weight >= high, 1, 0) - np.where(weight <= low, 1, 0)
