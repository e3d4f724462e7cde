"""Noise in behaviours: repetitions, users who act like programs, and ratings that contradict one another."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec.config import Noise
from kgrec.data.columns import BoolArray
from kgrec.data.snapshot import Behaviours, GraphSnapshot, IntArray

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

NEAR: Final = 10.0
"""Seconds within which a second behaviour is a repetition of the first: a double click, a page loaded again."""
FAR: Final = 6.0
"""Deviations from the median of all users, on a logarithmic scale, beyond which a user is unlike them."""
LEAST_DEVIATION: Final = 0.5
"""Where users are nearly alike, one is unlike them only from e^(6 · 0.5) = 20 times the median on."""
MANY: Final = 20
"""Gaps between a user's behaviours from which their regularity tells anything."""
REGULAR: Final = 0.9
"""Share of gaps within 5 % of a user's median gap from which no person acts."""
NEARLY_ALL: Final = 0.9
"""Share of the items that no person gets through, where there are at least `CATALOGUE`."""
CATALOGUE: Final = 100
LEVELS: Final = 20
"""Different weights that a type has at most where they are grades; more are amounts."""
CLOCK: Final = 1e8
"""Median time from which times are seconds since 1970, and not an order."""
NEGATIONS: Final = ("DIS", "UN", "NOT_")
"""What makes the name of a type its opposite: LIKED, DISLIKED."""


def noise(snapshot: GraphSnapshot) -> pd.DataFrame:
    """Find behaviours that say little or nothing of what people like.

    - "duplicate": one more of the same user, item, type and time. "near duplicate": one more within 10 seconds.
    - "bot-like": a user with far more behaviours than others, or far more within one second (beyond the median by six
      median absolute deviations, of logarithms: Leys et al., J. Exp. Soc. Psychol. 2013), with gaps between them that
      are nearly all alike, or with nearly all items.
    - "contradiction": a grade in the highest and one in the lowest quarter of the scale for the same user and item, or
      types that are opposites by name, such as LIKED and DISLIKED.

    What is told by seconds is looked for only where times are seconds since 1970.

    Returns:
        Columns kind, user_id, item_id ("" for a user as a whole), count (behaviours that repeat another, are the
        user's, or contradict one another), detail; kinds in this order, the largest count first.
    """
    gaps = _gaps(snapshot.behaviours)
    near = (gaps > 0) & (gaps <= _near(snapshot.behaviours))
    parts = [
        _repetitions(snapshot, gaps == 0, "at the same time").assign(kind="duplicate"),
        _repetitions(snapshot, near, f"within {NEAR:g} seconds").assign(kind="near duplicate"),
        _bots(snapshot).assign(kind="bot-like", item_id=""),
        _contradictions(snapshot).assign(kind="contradiction"),
    ]
    ordered = [part.sort_values("count", ascending=False, kind="stable") for part in parts]
    return pd.concat(ordered, ignore_index=True)[["kind", "user_id", "item_id", "count", "detail"]]


def summary(snapshot: GraphSnapshot, found: pd.DataFrame) -> dict[str, int]:
    """Return how many findings of each kind `noise` made, and how many of how many behaviours can be left out."""
    kinds = {str(kind): int(n) for kind, n in found.groupby("kind", sort=False).size().items()}
    return {**kinds, "can be left out": int(is_noise(snapshot).sum()), "behaviours": len(snapshot.behaviours)}


def is_noise(snapshot: GraphSnapshot) -> BoolArray:
    """Mark the behaviours that can be left out, bool [n behaviours].

    Of repetitions and of contradictions the latest stays, so that what was seen stays seen; of a bot-like user nothing
    does.
    """
    behaviours = snapshot.behaviours
    repeated = _gaps(behaviours) <= _near(behaviours)
    bots = np.any([is_bot for is_bot, _ in _bot_rules(snapshot)], axis=0)
    overruled = _contradict(snapshot)
    overruled[overruled] = np.isfinite(_gaps(behaviours.where(overruled), by_type=False))
    return np.asarray(repeated | bots[behaviours.user_num] | overruled)


def without_noise(snapshot: GraphSnapshot, how: Noise = "drop", seed: int = 0) -> GraphSnapshot:
    """Return the graph without the behaviours that `is_noise` marks; the same one where there are none.

    Args:
        snapshot: the graph.
        how: "drop" leaves out all of them, "keep" none, and "weigh" those of a random half of the pairs of user and
            item, so that they count half to every signal.
        seed: makes that half repeat.
    """
    if how == "keep":
        return snapshot
    found = is_noise(snapshot)
    if how == "weigh":
        pair = snapshot.behaviours.user_num * snapshot.n_items + snapshot.behaviours.item_num
        half = np.random.default_rng(seed).random(len(pair)) < 0.5
        found &= half[np.unique(pair, return_inverse=True)[1]]
    return snapshot.with_behaviours(~found) if found.any() else snapshot


def _repetitions(snapshot: GraphSnapshot, rows: BoolArray, when: str) -> pd.DataFrame:
    by_pair = _named(snapshot, snapshot.behaviours.where(rows)).groupby(["user_id", "item_id", "type"], sort=False)
    found = by_pair.size().rename("count").reset_index()
    return found.assign(detail=found["type"].astype(str) + f" more than once {when}")


def _bots(snapshot: GraphSnapshot) -> pd.DataFrame:
    counts = np.bincount(snapshot.behaviours.user_num, minlength=snapshot.n_users)
    ids = snapshot.users.ids
    parts = [
        pd.DataFrame({"user_id": ids[is_bot], "count": counts[is_bot], "detail": detail[is_bot]})
        for is_bot, detail in _bot_rules(snapshot)
    ]
    return pd.concat(parts)


def _contradictions(snapshot: GraphSnapshot) -> pd.DataFrame:
    behaviours = snapshot.behaviours.where(_contradict(snapshot))
    behaviours = behaviours.where(np.argsort(behaviours.time, kind="stable"))
    found = _named(snapshot, behaviours)
    found["detail"] = found["type"].astype(str) + pd.Series(behaviours.weight).map(" {:g}".format).astype(str)
    by_pair = found.groupby(["user_id", "item_id"], sort=False)["detail"]
    return by_pair.agg(count="size", detail=", then ".join).reset_index()


def _named(snapshot: GraphSnapshot, behaviours: Behaviours) -> pd.DataFrame:
    """Return behaviours as rows of user_id, item_id and type."""
    types = np.array(list(snapshot.schema.roles.behaviours), dtype=object)
    return pd.DataFrame(
        {
            "user_id": snapshot.users.ids[behaviours.user_num],
            "item_id": snapshot.items.ids[behaviours.item_num],
            "type": types[behaviours.type_num],
        }
    )


def _gaps(behaviours: Behaviours, *, by_type: bool = True) -> Floats:
    """Return seconds until a user does the same again to the same item [n]; 0 without times, inf where it is the last.

    Args:
        behaviours: n rows.
        by_type: whether only a behaviour of the same type is the same.
    """
    kind = behaviours.type_num if by_type else np.zeros(len(behaviours), np.int64)
    time = np.nan_to_num(behaviours.time)
    order = np.lexsort((time, kind, behaviours.item_num, behaviours.user_num))
    keys = np.stack([behaviours.user_num, behaviours.item_num, kind])[:, order]
    again = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    gaps = np.full(len(behaviours), np.inf)
    gaps[order[:-1][again]] = np.diff(time[order])[again]
    return gaps


def _near(behaviours: Behaviours) -> float:
    """Return how many seconds make a near repetition: none where times are only an order."""
    return NEAR if _has_clock(behaviours) else 0.0


def _has_clock(behaviours: Behaviours, resolution: int = 1) -> bool:
    """Say whether times are seconds since 1970, and not all multiples of `resolution` seconds where that is above 1."""
    time = behaviours.time[np.isfinite(behaviours.time)]
    coarse = resolution > 1 and not (time % resolution).any()
    return bool(len(time)) and bool(np.median(time) >= CLOCK) and not coarse


def _bot_rules(snapshot: GraphSnapshot) -> list[tuple[BoolArray, Texts]]:
    """Return for every rule which users are bot-like by it, and what there is to say of each, [n_users] both."""
    behaviours, n = snapshot.behaviours, snapshot.n_users
    timed = behaviours.where(np.isfinite(behaviours.time))
    counts = np.bincount(behaviours.user_num, minlength=n).astype(np.float64)
    items = np.diff(snapshot.interactions.indptr)
    nearly_all = (items >= NEARLY_ALL * snapshot.n_items) & (snapshot.n_items >= CATALOGUE)
    found = [
        (_far_above(counts), _each("{:.0f} behaviours, of {:.0f} in the middle", counts, _middle(counts))),
        (nearly_all, _each("{} of all {} items", items, snapshot.n_items)),
    ]
    # Times that are whole minutes or days say nothing of seconds.
    if _has_clock(behaviours, resolution=60):
        burst, (regular, gap) = _largest_bursts(timed, n), _regularity(timed, n)
        found += [
            (_far_above(burst), _each("{:.0f} within one second, of {:.0f} in the middle", burst, _middle(burst))),
            (regular >= REGULAR, _each("{:.0%} of all gaps are about {:g} seconds", regular, gap)),
        ]
    return found


def _each(template: str, *values: Any) -> Texts:
    """Fill in a template for every user."""
    return np.asarray(np.frompyfunc(template.format, len(values), 1)(*values), dtype=object)


def _middle(values: Floats) -> float:
    """Return the median of the values above 0; 0 where there are none."""
    return float(np.median(values[values > 0])) if values.any() else 0.0


def _far_above(values: Floats) -> BoolArray:
    """Mark values [n] that are far above the others, of those above 0, on a logarithmic scale."""
    if not values.any():
        return np.zeros(len(values), dtype=bool)
    given = np.log(values[values > 0])
    # 1.4826 makes it the standard deviation where logarithms are normal.
    deviation = 1.4826 * np.median(np.abs(given - np.median(given)))
    return np.asarray(values > np.exp(np.median(given) + FAR * max(deviation, LEAST_DEVIATION)))


def _largest_bursts(behaviours: Behaviours, n_users: int) -> Floats:
    """Return the largest number of behaviours of each user within one second of the clock [n_users]."""
    moment = np.floor(behaviours.time).astype(np.int64) * n_users + behaviours.user_num
    moments, counts = np.unique(moment, return_counts=True)
    largest = np.zeros(n_users)
    np.maximum.at(largest, moments % n_users, counts)
    return largest


def _regularity(behaviours: Behaviours, n_users: int) -> tuple[Floats, Floats]:
    """Return which share of each user's gaps is within 5 % of their median gap, and that gap in seconds [n_users].

    The share is 0 where there are fewer than `MANY` gaps, or hardly any time between behaviours.
    """
    order = np.lexsort((behaviours.time, behaviours.user_num))
    user_num, gap = behaviours.user_num[order], np.diff(behaviours.time[order])
    rows = pd.DataFrame({"user": user_num[1:], "gap": gap})[user_num[1:] == user_num[:-1]]
    middle = rows.groupby("user")["gap"].transform("median")
    alike = ((rows["gap"] - middle).abs() <= 0.05 * middle) & (middle > 0)
    of_user = alike.groupby(rows["user"]).agg(["mean", "size"])
    share, median = np.zeros(n_users), np.zeros(n_users)
    share[of_user.index] = of_user["mean"].where(of_user["size"] >= MANY, 0)
    median[rows["user"]] = middle
    return share, median


def _contradict(snapshot: GraphSnapshot) -> BoolArray:
    """Mark the behaviours [n] for and against an item, of users who have both."""
    behaviours, verdict = snapshot.behaviours, _verdicts(snapshot)
    pair = behaviours.user_num * snapshot.n_items + behaviours.item_num
    both = np.intersect1d(pair[verdict > 0], pair[verdict < 0])
    return np.asarray(np.isin(pair, both) & (verdict != 0))


def _verdicts(snapshot: GraphSnapshot) -> IntArray:
    """Return which behaviours speak for their item (1), against it (-1), or neither (0), int64 [n]."""
    behaviours, names = snapshot.behaviours, list(snapshot.schema.roles.behaviours)
    verdict = np.zeros(len(behaviours), dtype=np.int64)
    opposites = {word + name: name for name in names for word in NEGATIONS if word + name in names}
    for num, name in enumerate(names):
        rows = behaviours.type_num == num
        if name in opposites or name in opposites.values():
            verdict[rows] = -1 if name in opposites else 1
        elif rows.any():
            verdict[rows] = _of_grades(behaviours.weight[rows])
    return verdict


def _of_grades(weight: npt.NDArray[np.float32]) -> IntArray:
    """Return 1 for the highest quarter of a scale, -1 for the lowest, else 0 [n]; all 0 where weights are amounts."""
    low, high = np.quantile([weight.min(), weight.max()], [0.25, 0.75])
    # Amounts have many levels, or pile up at the lowest; grades do neither.
    if len(np.unique(weight)) > LEVELS or np.median(weight) <= low:
        return np.zeros(len(weight), dtype=np.int64)
    return np.where(weight >= high, 1, 0) - np.where(weight <= low, 1, 0)
