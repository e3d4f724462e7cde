"""Similarity of items and of users, from the fitted signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.errors import UsageError
from kgrec.hybrid.model import HybridModel
from kgrec.ranking.frames import in_type, lists_frame
from kgrec.ranking.top_k import top_k
from kgrec.signals import shipped_with_similarity
from kgrec.signals.base import Signal

Role = Literal["item", "user"]


def most_similar(
    model: HybridModel,
    role: Role,
    ids: Sequence[str],
    nums: IntArray,
    k: int,
    reached: Mapping[str, float],
    allowed: BoolArray | None = None,
) -> pd.DataFrame:
    """Return the k items, or users, most similar to each given one: columns ROLE_id, similar_ROLE_id, score, rank.

    Args:
        model: the fitted model.
        role: "item" or "user".
        ids: ids [n] of the items or users to compare with.
        nums: their numbers, int64 [n].
        k: length of a list.
        reached: signal → its validation metric.
        allowed: mask of the items that may be listed; all if not given.

    Raises:
        UsageError: k is below 1, or no signal measures similarity.
    """
    scores = similarity(model, role, nums, reached)
    scores[np.arange(len(nums)), nums] = -np.inf
    ranking, known = top_k(scores, k, allowed=allowed), getattr(model.train, f"{role}s")
    listed: dict[str, npt.NDArray[Any]] = {"num": ranking.item_num, "score": ranking.score}
    return lists_frame(in_type(ids, known.nums(ids), known), f"{role}_id", f"similar_{role}_id", known.column, listed)


def similarity(model: HybridModel, role: Role, nums: IntArray, reached: Mapping[str, float]) -> FloatArray:
    """Return the similarity of given items, or users, to all, float32 [n, all], by the best signal that measures it.

    Similarity is the cosine of the signal's vectors. If no signal has vectors, it is the signal's own measure, and -inf
    for unrelated pairs. Arguments as for `most_similar`.

    Raises:
        UsageError: no signal measures similarity.
    """
    best = sorted(model.signals.values(), key=lambda signal: -np.nan_to_num(reached.get(signal.name, 0.0)))
    for has_vectors in (True, False):
        for signal in (signal for signal in best if _has_vectors(signal, role) == has_vectors):
            scores: FloatArray | None = getattr(signal, f"{role}_similarity")(nums)
            if scores is not None:
                return scores if has_vectors else np.where(scores > 0, scores, np.float32(-np.inf))
    raise UsageError(
        f"none of the fitted signals measures the similarity of {role}s: {', '.join(model.signals)}. "
        f"Fit one of {', '.join(shipped_with_similarity(role))}"
    )


def _has_vectors(signal: Signal, role: Role) -> bool:
    return getattr(signal, f"{role}_vectors") is not None
