"""Items that are like items, and users like users, by what the fitted signals learned."""

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
    """Return the k items, or users, most like each of some: columns ROLE_id, similar_ROLE_id, score, rank.

    Args:
        model: the fitted model.
        role: what they are.
        ids: what those whose lists these are were called [n].
        nums: their numbers, int64 [n].
        k: length of a list.
        reached: signal → what it reached on validation.
        allowed: which may be listed; all if not given.

    Raises:
        UsageError: k below 1, or no signal says how like they are.
    """
    scores = similarity(model, role, nums, reached)
    scores[np.arange(len(nums)), nums] = -np.inf
    ranking, known = top_k(scores, k, allowed=allowed), getattr(model.train, f"{role}s")
    listed: dict[str, npt.NDArray[Any]] = {"num": ranking.item_num, "score": ranking.score}
    return lists_frame(in_type(ids, known), f"{role}_id", f"similar_{role}_id", known.original, listed)


def similarity(model: HybridModel, role: Role, nums: IntArray, reached: Mapping[str, float]) -> FloatArray:
    """Return how like some items, or users, all are, float32 [n, all], by the best signal that says so.

    The cosine of its vectors; where no signal has vectors, how it relates them otherwise, -inf where it does not.
    Arguments are those of `most_similar`.

    Raises:
        UsageError: no signal says how like they are.
    """
    best = sorted(model.signals.values(), key=lambda signal: -np.nan_to_num(reached.get(signal.name, 0.0)))
    for has_vectors in (True, False):
        for signal in (signal for signal in best if _has_vectors(signal, role) == has_vectors):
            found: FloatArray | None = getattr(signal, f"{role}_similarity")(nums)
            if found is not None:
                return found if has_vectors else np.where(found > 0, found, np.float32(-np.inf))
    raise UsageError(
        f"none of the fitted signals {', '.join(model.signals)} says how like {role}s are. "
        f"Fit one of {', '.join(shipped_with_similarity(role))}"
    )


def _has_vectors(signal: Signal, role: Role) -> bool:
    return getattr(signal, f"{role}_vectors") is not None
