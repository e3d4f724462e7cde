"""Training of the second stage, and the choice of its weight on validation users."""

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
"""Weights tried: deviations of a list's blended scores per standard deviation of the cross-encoder's logits."""
MAX_TUNING_USERS: Final = 256
"""Maximum number of validation users per domain to choose the weight on: each costs a hundred pairs of texts."""


def learn_second_stage(state: TuningState, encoder: TransformersEncoder) -> TuningState:
    """Train a second stage on the graph of the first stage, and choose its weight in each domain.

    Args:
        state: the state with the first stage; `state.config.rerank` holds the settings of training.
        encoder: the text model; see `kgrec.text.finetune.cross_encoder.body_of`.

    Returns:
        The state with the second stage, or None instead if it does not help in any domain. The report "rerank" has
        "losses" (step, loss on held-out users), "report" (classification report on them) and "domains" (domain →
        "weight", "tried" and "gain").

    Raises:
        UsageError: there are no texts to learn from, or the model does not support the method.
        MissingExtra: peft is not installed.
    """
    first, settings, seed = state.model, state.config.rerank or RerankSettings(), state.seed
    cross, report = learn(first.train, encoder, _ranked_by(first, settings.top), settings, seed, _description_of(first))
    stage = SecondStage(cross, first.train, settings, {}, seed)
    chosen = {holdout.domain: _tune_weight(first, stage, holdout) for holdout in state.validation}
    weights = {domain: choice["weight"] for domain, choice in chosen.items() if choice["weight"]}
    if left_out := sorted(set(first.blends) - set(weights)):
        domains = ", ".join(left_out)
        logger.info(f"no re-ranking for {domains}: no gain above one standard error on the validation split")
    second = replace(stage, weights=weights) if weights else None
    facts = {"losses": stage.tuned.losses, "report": report, "domains": chosen}
    return replace(state, second=second, report={**state.report, "rerank": facts})


def _description_of(first: HybridModel) -> list[dict[str, Any]]:
    """Return the settings and blends that identify a first stage, to which a checkpoint of training belongs."""
    settings = [
        {name: signal.settings.model_dump(mode="json") for name, signal in signals.items()}
        for signals in (first.signals, first.segment_models.cold_start)
    ]
    return [*settings, {domain: blend.to_dict() for domain, blend in first.blends.items()}]


def _ranked_by(first: HybridModel, top: int) -> Ranked:
    """Return a function that ranks each user's unseen items of the domain of a given item, by the first stage."""
    domains = first.train.item_domains

    def ranked(user_nums: IntArray, item_nums: IntArray) -> IntArray:
        scored = first.score(user_nums)
        return top_k(scored.blended, top, scored.seen, np.asarray(domains[item_nums][:, None] == domains)).item_num

    return ranked


def _tune_weight(first: HybridModel, stage: SecondStage, holdout: ValidationSet) -> dict[str, Any]:
    """Return the best weight in a domain, 0 if its gain is within a standard error, and the metric of each weight."""
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
