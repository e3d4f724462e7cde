"""New users: users without any interaction, known by their attributes, relationships or text.

What these are worth cannot be learned from users with a history. So whole users are withheld from the graph on which
blends are learned, with all their interactions, and the blend for new users is learned from them. If it is not clearly
better than popularity, new users get the popular items.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import numpy as np

from kgrec._util.types import BoolArray, FloatArray
from kgrec.data.columns import to_mask
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.user_profiles import user_profiles
from kgrec.hybrid.blend import Blend
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS, fit_group
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.significance import clearly_better
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)

MAX_SHARE: Final = 0.1
"""Share of the described users with interactions who are withheld, at most."""
SHARE_WITHOUT_NEW_USERS: Final = 0.03
"""The same if the graph has no described user without interactions, so that new users may only come later."""
MAX_USERS: Final = 2_000
"""Users withheld, at most."""


def simulate_new_users(train: GraphSnapshot, seed: int) -> BoolArray:
    """Return a mask of interactions to hold out so that some users have none left, bool [n].

    As many users are drawn as there are described users without interactions, within bounds; a few if users have
    attributes. With too few to learn from, nobody is.

    Args:
        train: the training graph, with n interactions.
        seed: makes the draw repeat.
    """
    active = np.diff(train.interactions.indptr) > 0
    known = _described(train)
    able = np.flatnonzero(known & active)
    n_new, most = int((known & ~active).sum()), int(MAX_SHARE * len(able))
    if not n_new and not user_profiles(train).matrix.nnz:
        return np.zeros(len(train.behaviors), dtype=bool)
    n = min(max(n_new or round(SHARE_WITHOUT_NEW_USERS * len(able)), MIN_BLEND_USERS), most, MAX_USERS)
    withheld = np.zeros(train.n_users, dtype=bool)
    withheld[np.random.default_rng(seed).permutation(able)[: n if n >= MIN_BLEND_USERS else 0]] = True
    return np.asarray(withheld[train.behaviors.user_num])


def new_user_blend(state: TuningState, holdouts: ValidationSet, popularity: FloatArray) -> Blend | None:
    """Return the blend for new users of a domain: popularity alone, unless the learned one is clearly better.

    Args:
        state: the fitted signals.
        holdouts: the validation set of the withheld users.
        popularity: float32 [m], number of train users of each item of the domain.

    Returns:
        The blend; None with too few users, or without a signal of popularity.
    """
    if len(holdouts.user_num) < MIN_BLEND_USERS:
        return None
    holdout, names = state.sample(holdouts), list(state.signals)
    blend = fit_group(
        names, state.scores(holdout), holdout.seen, holdout.relevant, popularity, state.seed, holdout.metric
    )
    by_popularity = holdout.evaluate(np.tile(popularity, (len(holdout.user_num), 1))).astype(np.float64)
    options = {**blend.report["options"], "popularity": float(by_popularity.mean())}
    logger.info(f"new users of {holdout.domain}: {options[blend.kind]:.4f}, by popularity {options['popularity']:.4f}")
    if not clearly_better(blend.reached, by_popularity):
        alone = [float(not signal.personalized) for signal in state.signals.values()]
        blend = Blend.from_weights("raw", names, alone, "popularity") if any(alone) else blend
    return replace(blend, report={**blend.report, "kind": blend.kind, "options": options})


def _described(train: GraphSnapshot) -> BoolArray:
    """Return the users with a relationship other than behaviors, or with any property, bool [n_users]."""
    linked = np.diff(train.user_attributes.indptr) > 0
    parts = [np.empty(0, dtype=bool)]
    for label in train.present(train.schema.roles.users):
        table = train.nodes[label]
        columns = [table.column(name) for name in train.schema.nodes[label].properties]
        given = [to_mask(column.is_valid()) for column in columns]
        parts.append(np.any([np.zeros(table.num_rows, dtype=bool), *given], axis=0))
    return np.asarray(linked | np.concatenate(parts))
