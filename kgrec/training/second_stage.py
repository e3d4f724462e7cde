"""Train the second stage, and choose its weight on validation users."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import numpy as np

from kgrec._util.types import IntArray
from kgrec.config import RerankSettings
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.second_stage import SecondStage
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.significance import bootstrap_interval
from kgrec.ranking.top_k import top_k
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.finetune.cross_encoder import Ranked, learn
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)


TRIED_WEIGHTS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""How many deviations of the blend's scores of a list one of the cross-encoder's may count for; tried in turn."""
MAX_TUNING_USERS: Final = 256
"""Validation users of a domain that the weight is chosen on at most: every one costs a hundred pairs of texts."""


def learn_second_stage(state: TuningState, encoder: TransformersEncoder) -> TuningState:
    """Learn a second stage from the graph that the first stage learned from, and choose how much it counts.

    Args:
        state: with all that makes the first stage; `state.config.rerank` says how to learn.
        encoder: the text model; see `kgrec.text.finetune.cross_encoder.body_of`.

    Returns:
        The state with the second stage, None where it does not help anywhere. It reports "losses" (steps, loss on
        held-out users), "report" (classification report on those), "domains" (domain → "weight", "tried" and "gain").

    Raises:
        UsageError: there are no texts to learn from, or the model cannot be trained so.
        MissingExtra: peft is not installed.
    """
    first, settings, seed = state.model, state.config.rerank or RerankSettings(), state.seed
    cross, report = learn(first.train, encoder, _ranked_by(first, settings.top), settings, seed, _description_of(first))
    stage = SecondStage(cross, first.train, settings, {}, seed)
    chosen = {holdout.domain: _tune_weight(first, stage, holdout) for holdout in state.validation}
    weights = {domain: found["weight"] for domain, found in chosen.items() if found["weight"]}
    if left_out := sorted(set(first.blends) - set(weights)):
        logger.info(f"re-ranking is not used for {', '.join(left_out)}: not clearly better on the validation cut")
    second = replace(stage, weights=weights) if weights else None
    facts = {"losses": stage.tuned.losses, "report": report, "domains": chosen}
    return replace(state, second=second, report={**state.report, "rerank": facts})


def _description_of(first: HybridModel) -> list[dict[str, Any]]:
    """Return what tells one first stage from another: a checkpoint of training is of one alone."""
    settings = [
        {name: signal.settings.model_dump(mode="json") for name, signal in signals.items()}
        for signals in (first.signals, first.segment_models.cold_start)
    ]
    return [*settings, {domain: blend.to_dict() for domain, blend in first.blends.items()}]


def _ranked_by(first: HybridModel, top: int) -> Ranked:
    """Return what ranks the unseen items of the domain of an item of each user, as a first stage does."""
    domains = first.train.item_domains

    def ranked(user_nums: IntArray, item_nums: IntArray) -> IntArray:
        scored = first.score(user_nums)
        return top_k(scored.blended, top, scored.seen, np.asarray(domains[item_nums][:, None] == domains)).item_num

    return ranked


def _tune_weight(first: HybridModel, stage: SecondStage, holdout: ValidationSet) -> dict[str, Any]:
    """Choose how much the second stage counts in a domain: 0, unless that is worse by more than the standard error."""
    if len(holdout.user_num) < MIN_BLEND_USERS:
        return {"weight": 0.0, "tried": {}}
    n = min(MAX_TUNING_USERS, len(holdout.user_num))
    holdout = holdout.take(np.sort(np.random.default_rng(stage.seed).choice(len(holdout.user_num), n, replace=False)))
    scored = first.score(holdout.user_num)
    blended = scored.blended[:, holdout.item_num]
    domain_offsets = stage.domain_offsets(holdout.domain, scored.blended, holdout.user_num, scored.seen)[
        :, holdout.item_num
    ]
    reached = {
        weight: holdout.evaluate(blended + np.float32(weight) * domain_offsets) for weight in (0.0, *TRIED_WEIGHTS)
    }
    best = max(reached, key=lambda weight: float(reached[weight].mean()))
    gain = (reached[best] - reached[0.0]).astype(np.float64)
    clearly = gain.mean() > gain.std() / np.sqrt(n)
    return {
        "weight": best if clearly else 0.0,
        "users": n,
        "tried": {str(weight): round(float(values.mean(dtype=np.float64)), 5) for weight, values in reached.items()},
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=stage.seed)],
    }
