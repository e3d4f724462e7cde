"""Publication gate: a new run is compared with the live run, and is not published if it is worse.

The gate refuses a run if one of these holds, by the metrics of `compare` and `figures_of`:

- The metric of model selection (NDCG@20, or the setting `metric`) on held-out behaviors that neither model has seen is
  more than 2 % (relative) below the live run's, and the 95 % interval of the difference, paired by test case, lies
  below 0. A test case is a user in a domain; with fewer than 30 of them this test is skipped.
- The catalog coverage of the lists is less than half of the live run's.
- The share of users without a list is more than 0.01 higher than the live run's.
- The schema differs from the live run's.
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
from kgrec.metrics.ranking import NDCG_AT_20, K, Metric, evaluate
from kgrec.metrics.significance import bootstrap_interval
from kgrec.ranking.top_k import rank_all

MAX_TEST_USERS: Final = 2000
"""Maximum number of test users; enough to detect a relevant drop."""

MIN_TEST_CASES: Final = 30
"""Minimum number of test cases for a reliable bootstrap interval."""

MAX_DROP_SHARE: Final = 0.02
MIN_COVERAGE_SHARE: Final = 0.5
MAX_WITHOUT_LIST_SHARE: Final = 0.01


def compare(
    current: HybridModel, candidate: HybridModel, cut: Split, seed: int, metric: Metric = NDCG_AT_20
) -> dict[str, Any]:
    """Return a metric of two models on the test split, without the pairs that the current model was trained on.

    Args:
        current: the live model, not updated: it does not know users and items that were added since.
        candidate: model fitted on the train part of the split, or on train and valid.
        cut: split of the current graph.
        seed: seed of the sample of users.
        metric: the metric to compare by.

    Returns:
        "users": number of test cases, one per user and domain; unless it is 0, "metric": its name, "current" and
        "candidate": its means, and "difference", "low", "high": candidate minus current, with its 95 % interval.
    """
    delta = GraphDelta(current.train, cut.train_and_valid, {})
    unseen = cut.graph.pairs(cut.test)
    unseen -= unseen.multiply(delta.known_pairs)
    unseen.eliminate_zeros()
    seen = cut.train_and_valid.interactions + delta.known_pairs
    users = np.flatnonzero(np.diff(unseen.indptr))
    users = np.sort(np.random.default_rng(seed).permutation(users)[:MAX_TEST_USERS])
    if not len(users):
        return {"users": 0}
    before = _metric_per_case(current, delta, users, unseen, seen, metric)
    after = _metric_per_case(candidate, None, users, unseen, seen, metric)
    low, high = bootstrap_interval(after - before, seed=seed)
    figures = {"current": before.mean(), "candidate": after.mean(), "difference": (after - before).mean()}
    figures |= {"low": low, "high": high}
    return {
        "users": len(before),
        "metric": str(metric),
        **{name: round(float(value), 6) for name, value in figures.items()},
    }


def figures_of(listed: pa.Table, users: int, items: int, schema: str) -> dict[str, Any]:
    """Return coverage figures of recommendation lists, cut at rank 20.

    Args:
        listed: columns user_id, item_id, rank.
        users, items: number of users and items.
        schema: digest of the schema.

    Returns:
        "coverage": share of the items in at least one list; "users without": share of the users without a list; and
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
    """Return the reasons to refuse a run, with figures; empty if it may be published.

    Args:
        measured: result of `compare`.
        old, new: results of `figures_of` for the live run and the new run.
    """
    why = []
    sure = measured["users"] >= MIN_TEST_CASES and measured["high"] < 0
    if sure and measured["difference"] < -MAX_DROP_SHARE * measured["current"]:
        share = [measured[name] / measured["current"] for name in ("difference", "low", "high")]
        why.append(
            f"{measured['metric']} falls from {measured['current']:.4f} to {measured['candidate']:.4f} "
            f"({share[0]:+.1%}, 95 % {share[1]:+.1%} … {share[2]:+.1%}, {measured['users']} test cases)"
        )
    if new["coverage"] < MIN_COVERAGE_SHARE * old["coverage"]:
        why.append(f"the lists cover {new['coverage']:.1%} of the items, before {old['coverage']:.1%}")
    if new["users without"] > old["users without"] + MAX_WITHOUT_LIST_SHARE:
        why.append(f"{new['users without']:.1%} of the users have no list, before {old['users without']:.1%}")
    if new["schema"] != old["schema"]:
        why.append("the schema differs from that of the live run")
    return why


def _metric_per_case(
    model: HybridModel,
    delta: GraphDelta | None,
    users: IntArray,
    relevant: sp.csr_matrix,
    seen: sp.csr_matrix,
    metric: Metric,
) -> FloatArray:
    """Return the metric for each user and domain with relevant items, float32 [test cases].

    Args:
        model: model of the current graph, or of an earlier one.
        delta: maps an earlier graph to the current one; None if the model is of the current graph.
        users: test users, int64 [n].
        relevant, seen: held-out and known pairs, CSR [n_users, n_items].
        metric: the metric.
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
            ranking = rank_all(scores, tested, metric.k, seen, allowed)
            values.append(evaluate(ranking, within[tested], relevant, (metric.k,)).per_user[str(metric)])
    return np.concatenate([np.empty(0, np.float32), *values])
