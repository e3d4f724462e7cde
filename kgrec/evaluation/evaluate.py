"""Evaluation on test interactions: the hybrid against each signal and the baseline, per domain, by full ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from kgrec._util.progress import track
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.split import Split
from kgrec.errors import UsageError
from kgrec.evaluation.groups import group_metrics, warn_of_worse_groups
from kgrec.evaluation.measured import Measured
from kgrec.hybrid.model import HYBRID, HybridModel, Scored
from kgrec.metrics.ranking import Evaluation, Metric, evaluate
from kgrec.metrics.significance import bootstrap_intervals, paired_tests
from kgrec.ranking.frames import lists_frame
from kgrec.ranking.top_k import BATCH_BYTES, Ranking, top_k

FUSION, FIRST = "linear fusion", "hybrid, first stage"
SHOWN_METRICS = "NDCG|Recall|MRR|Coverage"
"""Pattern of the metrics shown in the table; JSON output has all."""


def measure(
    model: HybridModel,
    split: Split,
    ks: Sequence[int],
    *,
    single_signals: bool = True,
    max_users: int | None = None,
    seed: int = 0,
) -> dict[str, Measured]:
    """Return the metrics on test for each domain, from a full ranking of the items that are not in train or validation.

    Args:
        model: the model, fitted on the split's train, or train and validation.
        split: a split with test interactions.
        ks: cut-offs of the metrics; lists are as long as the largest.
        single_signals: whether to measure each signal, the baseline and the first stage too.
        max_users: test users of a domain, at most: if there are more, so many are drawn. None: all.
        seed: makes the draw repeat.

    Returns:
        Domain → rankings and metrics.

    Raises:
        UsageError: the split has no test interaction.
    """
    if not split.is_test.any():
        raise UsageError("no test interaction to measure on. Expected a split that holds some out")
    relevant, seen = split.graph.pairs(split.test), split.train_and_valid.interactions
    rng, test_sets = np.random.default_rng(seed), dict[str, _TestSet]()
    for domain, test_set in _test_sets(split, relevant).items():
        if len(test_set.user_num):
            test_sets[domain] = test_set if max_users is None else test_set.drawn(max_users, rng)
    rankings = _rankings(model, test_sets, max(ks), seen, single_signals)
    return {domain: _evaluated(test_set, rankings[domain], model, ks) for domain, test_set in test_sets.items()}


def recommendations(measured: Mapping[str, Measured], split: Split, name: str = HYBRID) -> pd.DataFrame:
    """Return a model's recommendations: columns user_id, item_id, score, rank (from 1, within the domain)."""
    users, items = split.graph.users.ids, split.graph.items.ids
    frames = []
    for domain in measured.values():
        ranking = domain.rankings[name]
        columns: dict[str, npt.NDArray[Any]] = {"num": ranking.item_num, "score": ranking.score}
        frames.append(lists_frame(users[domain.user_num], "user_id", "item_id", items, columns))
    return pd.concat(frames, ignore_index=True)


def metrics(measured: Mapping[str, Measured], protocol: str, seed: int = 0) -> dict[str, Any]:
    """Return a summary of the metrics as JSON-ready values.

    Returns:
        "protocol", "users" (number of test users, summed over domains), "models" {name: {metric: mean}}, "intervals"
        {name: {metric: [low, high]}} (95 %, by bootstrap over users), "hybrid_against" {name: paired test on NDCG},
        "groups" {group: metrics}, see `group_metrics`,
        and "domains" {domain: {name: metrics}} if there are several.
    """
    names = list(next(iter(measured.values())).evaluations)
    per_user = {name: _joined([domain.evaluations[name] for domain in measured.values()]) for name in names}
    ndcg = [metric for metric in per_user[HYBRID] if metric.startswith("NDCG")][-1]
    result: dict[str, Any] = {
        "protocol": protocol,
        "users": len(per_user[HYBRID][ndcg]),
        "models": {name: mean_metrics(measured, name) for name in names},
        "intervals": _intervals(per_user, seed),
        "hybrid_against": _comparisons({name: per_user[name][ndcg] for name in names}, ndcg, seed),
        "groups": group_metrics(measured, Metric.parse(ndcg), seed),
    }
    warn_of_worse_groups(result["groups"])
    if len(measured) > 1:
        result["domains"] = {d: {n: domain.evaluations[n].to_dict() for n in names} for d, domain in measured.items()}
    return result


def metrics_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Return the main metrics as a table that fits a terminal: one row per model, best NDCG last."""
    frame = pd.DataFrame(summary["models"]).T.filter(regex=SHOWN_METRICS)
    ndcg = [name for name in frame.columns if name.startswith("NDCG")][-1]
    low_high = [summary["intervals"][name][ndcg] for name in frame.index]
    frame[f"{ndcg} 95%"] = [f"{low:.4f}–{high:.4f}" for low, high in low_high]
    return frame.sort_values(ndcg).rename_axis("model").reset_index()


@dataclass(frozen=True)
class _TestSet:
    """The test set of one domain: users, int64 [n], the domain's items, int64 [m], and test items, CSR [n, n_items]."""

    user_num: IntArray
    item_num: IntArray
    relevant: sp.csr_matrix

    def drawn(self, n: int, rng: np.random.Generator) -> _TestSet:
        """Return the test set of n users, drawn at random; of all if there are no more."""
        if len(self.user_num) <= n:
            return self
        rows = np.sort(rng.choice(len(self.user_num), n, replace=False))
        return replace(self, user_num=self.user_num[rows], relevant=self.relevant[rows])


def _test_sets(split: Split, relevant: sp.csr_matrix) -> dict[str, _TestSet]:
    domains, test_sets = split.graph.item_domains, {}
    for domain in sorted(set(domains)):
        within = domains == domain
        own = sp.csr_matrix(relevant @ sp.diags_array(within.astype(np.float32)))
        own.eliminate_zeros()
        users = np.flatnonzero(np.diff(own.indptr)).astype(np.int64)
        test_sets[domain] = _TestSet(users, np.flatnonzero(within).astype(np.int64), own[users])
    return test_sets


def _evaluated(test_set: _TestSet, rankings: Mapping[str, Ranking], model: HybridModel, ks: Sequence[int]) -> Measured:
    known = model.train.interactions
    evaluations = {name: evaluate(ranking, test_set.relevant, known, ks) for name, ranking in rankings.items()}
    n_of_user = np.diff(known.indptr)[test_set.user_num]
    n_of_item = np.bincount(known.indices, minlength=known.shape[1])
    return Measured(test_set.user_num, test_set.relevant, n_of_user, n_of_item, rankings, evaluations)


def _rankings(
    model: HybridModel, test_sets: Mapping[str, _TestSet], k: int, seen: sp.csr_matrix, single_signals: bool
) -> dict[str, dict[str, Ranking]]:
    """Return domain → model → ranking for the hybrid, the signals and the baseline; each user is scored once."""
    baseline, size = model.linear_fusion(), max(1, BATCH_BYTES // (4 * model.train.n_items * len(model.signals)))
    users = np.unique(np.concatenate([test_set.user_num for test_set in test_sets.values()]))
    parts: dict[str, dict[str, list[Ranking]]] = {domain: {} for domain in test_sets}
    for first in track(range(0, len(users), size), "Ranking"):
        batch = users[first : first + size]
        scored = model.score(batch)
        scores = _of_parts(scored, baseline) if single_signals else {}
        for domain, test_set in test_sets.items():
            rows = np.flatnonzero(np.isin(batch, test_set.user_num))
            own_seen = seen[batch[rows]][:, test_set.item_num].tocsr()
            for name, values in (scores | {HYBRID: scored.total}).items():
                ranking = top_k(_part(values, rows, test_set.item_num), k, own_seen)
                parts[domain].setdefault(name, []).append(_of_all(ranking, test_set.item_num))
    return {
        domain: {name: Ranking.joined(batches) for name, batches in models.items()} for domain, models in parts.items()
    }


def _of_parts(scored: Scored, baseline: HybridModel | None) -> dict[str, FloatArray]:
    """Return model → scores [n, n_items] of the models that a hybrid is compared with."""
    scores = dict(zip(scored.model.signals, scored.parts, strict=True))
    if baseline:
        scores[FUSION] = baseline.blended(scored.parts, scored.seen, scored.new)
    if scored.model.second:
        scores[FIRST] = scored.blended
    return scores


def _part(values: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return some rows and columns, in ascending order, of scores; all of them without a copy."""
    return values if (len(rows), len(columns)) == values.shape else values[rows].take(columns, axis=1)


def _of_all(ranking: Ranking, item_num: IntArray) -> Ranking:
    """Return a ranking of a domain's items, int64 [m], with the numbers of all items."""
    return Ranking(np.where(ranking.item_num >= 0, item_num[ranking.item_num], -1), ranking.score)


def _joined(evaluations: Sequence[Evaluation]) -> dict[str, FloatArray]:
    return {m: np.concatenate([e.per_user[m] for e in evaluations]) for m in evaluations[0].per_user}


def _intervals(per_user: Mapping[str, Mapping[str, FloatArray]], seed: int) -> dict[str, Any]:
    """Return model → metric → its 95 % interval, from the same bootstrap samples for all."""
    names = [(model, metric) for model, metrics in per_user.items() for metric in metrics]
    bounds = bootstrap_intervals(np.stack([per_user[model][metric] for model, metric in names], axis=1), seed=seed)
    intervals: dict[str, Any] = {model: {} for model in per_user}
    for (model, metric), low_high in zip(names, bounds.tolist(), strict=True):
        intervals[model][metric] = low_high
    return intervals


def _comparisons(values: Mapping[str, FloatArray], metric: str, seed: int) -> dict[str, Any]:
    """Return model → the paired test of the hybrid against it; `values` are a metric of each user, [n] for a model."""
    others = [name for name in values if name != HYBRID]
    if not others:
        return {}
    differences = values[HYBRID].astype(np.float64)[:, None] - np.stack([values[name] for name in others], axis=1)
    tests = paired_tests(differences, seed)
    return {name: {"metric": metric, **vars(test)} for name, test in zip(others, tests, strict=True)}


def mean_metrics(measured: Mapping[str, Measured], name: str) -> dict[str, float]:
    """Return the metrics averaged over domains, weighted by their number of test users."""
    parts = [domain.evaluations[name] for domain in measured.values()]
    weights = [part.n_users for part in parts]
    flat = [part.to_dict() for part in parts]
    return {m: round(float(np.average([values[m] for values in flat], weights=weights)), 6) for m in flat[0]}
