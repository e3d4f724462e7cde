"""The gate: a new run is compared with the one that serves, and a worse one is not published.

What is refused, by the figures of `compare`:

- NDCG@20 on held-out behaviors that neither has seen is lower by more than 2 % of the current run's, and the whole of
  the 95 % interval of the difference, paired by user, is below 0. Fewer than 30 users tell nothing.
- The lists hold less than half as many of the items as the current run's.
- The share of users without a list is higher by more than a hundredth.
- The schema is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.split import Split
from kgrec.hybrid.model import HybridModel
from kgrec.metrics.ranking import K, evaluate
from kgrec.metrics.significance import bootstrap_interval
from kgrec.ranking.top_k import rank_all

MAX_TEST_USERS: Final = 2000
"""Users who are asked about; a drop that matters shows in them."""

MIN_TEST_USERS: Final = 30
"""Users from which on an interval by drawing them again can be trusted."""

MAX_NDCG_DROP_SHARE: Final = 0.02
MIN_COVERAGE_SHARE: Final = 0.5
MAX_WITHOUT_LIST_SHARE: Final = 0.01


def compare(current: HybridModel, candidate: HybridModel, cut: Split, seed: int) -> dict[str, Any]:
    """Measure two models on the behaviors that a cut holds out, less what the current model has seen.

    Args:
        current: the model that serves, as it is: users and items that came since are new to it.
        candidate: learned from the cut's train, or train and valid.
        cut: of the graph as it is now.
        seed: draws the users.

    Returns:
        "users": how many questions were asked; and unless that is 0 "current", "candidate": NDCG@20, and "difference",
        "low", "high": how much better the candidate is, with its 95 % interval.
    """
    delta = GraphDelta(current.train, cut.train_and_valid, {})
    unseen = cut.whole.pairs(cut.test)
    unseen -= unseen.multiply(delta.known_pairs)
    unseen.eliminate_zeros()
    seen = cut.train_and_valid.interactions + delta.known_pairs
    users = np.flatnonzero(np.diff(unseen.indptr))
    users = np.sort(np.random.default_rng(seed).permutation(users)[:MAX_TEST_USERS])
    before, after = _ndcg(current, delta, users, unseen, seen), _ndcg(candidate, None, users, unseen, seen)
    if not len(users):
        return {"users": 0}
    low, high = bootstrap_interval(after - before, seed=seed)
    figures = {"current": before.mean(), "candidate": after.mean(), "difference": (after - before).mean()}
    figures |= {"low": low, "high": high}
    return {"users": len(before), **{name: round(float(value), 6) for name, value in figures.items()}}


def figures_of(listed: pa.Table, users: int, items: int, schema: str) -> dict[str, Any]:
    """Return what lists of recommendations, to length 20, reach.

    Args:
        listed: columns user_id, item_id, rank.
        users, items: how many there are.
        schema: digest of the schema.

    Returns:
        "coverage": share of the items that are in any list; "users without": share of the users that have none; and
        "schema".
    """
    listed = listed.filter(pc.less_equal(listed.column("rank"), K))
    n = {role: pc.count_distinct(listed.column(f"{role}_id")).as_py() for role in ("item", "user")}
    return {
        "coverage": round(n["item"] / max(items, 1), 6),
        "users without": round(1 - n["user"] / max(users, 1), 6),
        "schema": schema,
    }


def reasons(measured: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return why a run may not take the place of the current one, with figures; nothing if it may.

    Args:
        measured: what `compare` found.
        old, new: what `figures_of` found.
    """
    why = []
    sure = measured["users"] >= MIN_TEST_USERS and measured["high"] < 0
    if sure and measured["difference"] < -MAX_NDCG_DROP_SHARE * measured["current"]:
        share = [measured[name] / measured["current"] for name in ("difference", "low", "high")]
        why.append(
            f"NDCG@{K} falls from {measured['current']:.4f} to {measured['candidate']:.4f} "
            f"({share[0]:+.1%}, 95 % {share[1]:+.1%} … {share[2]:+.1%}, {measured['users']} users)"
        )
    if new["coverage"] < MIN_COVERAGE_SHARE * old["coverage"]:
        why.append(f"the lists hold {new['coverage']:.1%} of the items, were {old['coverage']:.1%}")
    if new["users without"] > old["users without"] + MAX_WITHOUT_LIST_SHARE:
        why.append(f"{new['users without']:.1%} of the users have no list, were {old['users without']:.1%}")
    if new["schema"] != old["schema"]:
        why.append("the schema is another than that of the current run")
    return why


def _ndcg(
    model: HybridModel, delta: GraphDelta | None, users: IntArray, relevant: sp.csr_matrix, seen: sp.csr_matrix
) -> FloatArray:
    """Return NDCG of users in every domain where they have something to find, float32 [questions].

    Args:
        model: of the graph as it is now, or of an earlier one from which `delta` leads to it.
        delta: None if the model is of the graph as it is now.
        users: int64 [n].
        relevant, seen: CSR [n_users, n_items].
    """

    def scores(user_nums: IntArray) -> FloatArray:
        if delta is None:
            return model.score(user_nums).total
        scores_now = model.score(delta.users[user_nums]).total[:, np.maximum(delta.items, 0)]
        scores_now[:, delta.items < 0] = -np.inf
        return scores_now

    domains, values = (delta.new if delta else model.train).item_domains, []
    for domain in sorted(set(domains)):
        allowed = np.asarray(domains == domain)
        within = sp.csr_matrix(relevant @ sp.diags_array(allowed.astype(np.float32)))
        within.eliminate_zeros()
        tested = users[np.diff(within.indptr)[users] > 0]
        if len(tested):
            ranking = rank_all(scores, tested, K, seen, allowed)
            values.append(evaluate(ranking, within[tested], relevant, (K,)).per_user[f"NDCG@{K}"])
    return np.concatenate([np.empty(0, np.float32), *values])
