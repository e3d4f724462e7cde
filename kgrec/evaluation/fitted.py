"""Evaluation of a fitted model, on the test part of a split or on a frame of interactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from kgrec.data.columns import as_keys
from kgrec.data.frames import as_table, lacking
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split
from kgrec.errors import DataError, UnknownItem, UsageError
from kgrec.evaluation.evaluate import mean_metrics, measure
from kgrec.hybrid.model import HYBRID, HybridModel
from kgrec.metrics.frames import evaluate, parse_metrics
from kgrec.ranking.frames import known_nums

Recommend = Callable[..., pd.DataFrame]
"""The method `Recommender.recommend`."""


def on_split(model: HybridModel, split: Split, metrics: str | Iterable[str]) -> dict[str, float]:
    """Return metric → mean on the test part of a split, as `kgrec benchmark` reports it.

    Raises:
        UsageError: a metric is unknown, or the split is of another graph or has no test interaction.
    """
    wanted = parse_metrics(metrics)
    if not np.array_equal(model.train.users.ids, split.graph.users.ids) or not np.array_equal(
        model.train.items.ids, split.graph.items.ids
    ):
        raise UsageError("the split is of another graph. Expected a split of the graph that the model was fitted on")
    measured = measure(model, split, sorted({metric.k for metric in wanted}), single_signals=False)
    means = mean_metrics(measured, HYBRID)
    return {str(metric): means[str(metric)] for metric in wanted}


def on_frame(
    recommend: Recommend, train: GraphSnapshot, test: object, metrics: str | Iterable[str], on_unknown: str
) -> dict[str, float]:
    """Return the metrics of recommendations for the users of a frame of held-out interactions, within each domain.

    Args:
        recommend: returns the recommendations.
        train: the graph that the model was fitted on.
        test: frame with the columns user_id and item_id.
        metrics: as for `kgrec.evaluate`.
        on_unknown: as for `recommend`.

    Returns:
        Metric → mean over users; with several domains, over pairs of a user and a domain.

    Raises:
        UsageError, DataError: as `kgrec.evaluate` and `recommend`.
        UnknownItem: there are several domains, and an item is in none of them.
    """
    held_out, domain = _by_domain(train, test)
    k = max(metric.k for metric in parse_metrics(metrics))
    by_domain, n_users = [], []
    for name in sorted(set(domain)) if domain is not None else [None]:
        expected = held_out if name is None else held_out[domain == name]
        users = expected["user_id"].unique()
        lists = recommend(users, k, domain=name, on_unknown=on_unknown).astype({"user_id": str, "item_id": str})
        by_domain.append(evaluate(lists, expected, metrics, train=_interactions(train), catalog=train.items.ids))
        n_users.append(len(users))
    return {name: float(np.average([each[name] for each in by_domain], weights=n_users)) for name in by_domain[0]}


def _by_domain(train: GraphSnapshot, test: object) -> tuple[pd.DataFrame, np.ndarray[Any, Any] | None]:
    """Return the ids of a frame as strings, and the domain [n] of each row; None if there is only one domain."""
    table, problems = as_table(test, "test")
    problems += lacking(table, "test", {"user_id": "user_id", "item_id": "item_id"})
    if problems:
        raise DataError(problems)
    ids = pd.DataFrame({name: as_keys(table.column(name))[0].to_pandas() for name in ("user_id", "item_id")})
    domains = train.item_domains
    if len(set(domains)) == 1:
        return ids, None
    nums = known_nums(train.items, ids["item_id"].tolist(), UnknownItem)
    return ids, domains[nums]


def _interactions(train: GraphSnapshot) -> pd.DataFrame:
    pairs = train.interactions.tocoo()
    return pd.DataFrame({"user_id": train.users.ids[pairs.row], "item_id": train.items.ids[pairs.col]})
