"""Metrics on frames equal hand-computed values, those of scikit-learn, and those of the benchmark."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.metrics import ndcg_score

from kgrec import DataError, UsageError
from kgrec.metrics.frames import METRICS, evaluate, parse_metrics

TEST = pd.DataFrame({"user_id": ["a", "a", "b", "c"], "item_id": ["x", "y", "x", "z"]})
LISTS = pd.DataFrame(
    {"user_id": ["a", "a", "b", "b", "d"], "item_id": ["y", "q", "q", "x", "x"], "rank": [1, 2, 1, 2, 1]}
)
TRAIN = pd.DataFrame({"user_id": ["a", "b", "c", "d"], "item_id": ["q", "q", "y", "x"]})


def test_evaluate_equals_values_computed_by_hand() -> None:
    found = evaluate(LISTS, TEST, [f"{name}@2" for name in METRICS], train=TRAIN, catalog=["q", "x", "y", "z"])
    expected = {
        "NDCG@2": (1 / (1 + 1 / math.log2(3)) + 1 / math.log2(3) + 0) / 3,
        "Recall@2": (1 / 2 + 1 + 0) / 3,
        "Precision@2": (1 / 2 + 1 / 2 + 0) / 3,
        "HR@2": 2 / 3,
        "MRR@2": (1 + 1 / 2 + 0) / 3,
        "MAP@2": (1 / 2 + 1 / 2 + 0) / 3,
        "Coverage@2": 3 / 4,
        "Novelty@2": (2 + 1 + 1 + 2) / 4,
    }
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("make", [pl.from_pandas, pa.Table.from_pandas], ids=["polars", "arrow"])
def test_evaluate_of_other_frames_equals_pandas(make) -> None:
    assert evaluate(make(LISTS), make(TEST)) == evaluate(LISTS, TEST)


def test_evaluate_of_whole_numbers_equals_text() -> None:
    numbers = {name: num for num, name in enumerate("abcdqxyz")}
    as_numbers = [frame.replace({"user_id": numbers, "item_id": numbers}) for frame in (LISTS, TEST)]
    as_numbers = [frame.astype({"user_id": "int64", "item_id": "int64"}) for frame in as_numbers]
    assert evaluate(*as_numbers) == evaluate(LISTS, TEST)


def test_evaluate_by_score_equals_by_rank() -> None:
    by_score = LISTS.assign(score=-LISTS["rank"] / 7).drop(columns="rank").sample(frac=1, random_state=0)
    assert evaluate(by_score, TEST) == evaluate(LISTS, TEST)


def test_evaluate_uses_given_ranks() -> None:
    moved = LISTS.assign(rank=LISTS["rank"] + 1)
    assert evaluate(moved, TEST, "MRR@10")["MRR@10"] == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert evaluate(moved, TEST, "HR@1")["HR@1"] == 0


def test_evaluate_equals_ndcg_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, relevant = rng.random((30, 40)), rng.random((30, 40)) < 0.1
    relevant[:, 0] = True
    users, items = np.nonzero(relevant)
    test = pd.DataFrame({"user_id": users, "item_id": items})
    user, item = np.indices(scores.shape)
    lists = pd.DataFrame({"user_id": user.ravel(), "item_id": item.ravel(), "score": scores.ravel()})
    found = evaluate(lists, test, ["NDCG@5", "NDCG@40"])
    assert found["NDCG@5"] == pytest.approx(ndcg_score(relevant, scores, k=5), rel=1e-6)
    assert found["NDCG@40"] == pytest.approx(ndcg_score(relevant, scores, k=40), rel=1e-6)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            "NDGC@10",
            "unknown metric: 'NDGC@10'; near matches: NDCG. Expected one of NDCG, Recall, Precision, HR, MRR, ",
        ),
        (["NDCG@10", "AUC", "Recall@0"], "unknown metric: 'AUC', 'Recall@0'"),
        ([], "unknown metric: none given"),
        (["Novelty@5", "Coverage@5"], "Novelty needs train=, .*; Coverage needs catalog="),
    ],
)
def test_evaluate_unknown_metric_lists_metrics(metrics, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(LISTS, TEST, metrics)


def test_parse_metrics_keeps_names_and_lengths() -> None:
    assert [(metric.name, metric.k) for metric in parse_metrics(["MRR@5", "HR@20"])] == [("MRR", 5), ("HR", 20)]


@pytest.mark.parametrize(
    ("lists", "test", "message"),
    [
        (LISTS.drop(columns="item_id"), TEST, r"recommendations: item_id: found columns user_id, rank; expected"),
        (LISTS.drop(columns="rank"), TEST, r"expected a column 'rank', or score"),
        (LISTS, TEST.iloc[:0], "interactions: found no rows; expected at least one"),
        (LISTS.iloc[:0], TEST, "recommendations: found no rows; expected at least one"),
        (LISTS, TEST.assign(user_id=["a", None, "b", "c"]), "interactions:2: user_id: found None; expected an id"),
        (LISTS.assign(user_id=["a", 1, 1, "b", "c"]), TEST, "values of one type; convert the column"),
        (LISTS.assign(user_id=range(5)), TEST, "user_id: found whole numbers; expected text, as in interactions"),
        (LISTS.assign(rank=[1, 0, 1.5, None, 1]), TEST, r"(?s):2: rank: found 0.0.*:3: rank: found 1.5.*:4: rank"),
        (LISTS.assign(rank=["1", "2", "1", "2", "1"]), TEST, "rank: found values of type .*string; expected numbers"),
        (LISTS.assign(item_id="x"), TEST, "recommendations:2: item_id: found user 'a' has item_id 'x' twice"),
        (
            LISTS.assign(rank=1),
            TEST,
            "user 'a' has rank 1 twice; expected each once; with several domains",
        ),
        (LISTS.assign(user_id="nobody").head(1), TEST, "none of the users of the interactions, such as 'a'"),
    ],
)
def test_evaluate_of_wrong_frames_names_the_problem(lists, test, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(lists, test)


def test_evaluate_without_frame_lists_accepted_types() -> None:
    with pytest.raises(UsageError, match="recommendations is a list; expected a pandas, polars or Arrow frame"):
        evaluate([1, 2], TEST)


def test_evaluate_of_an_item_outside_the_catalog_is_refused() -> None:
    with pytest.raises(DataError, match=re.escape("item_id: found 'y'; expected items of the catalog")):
        evaluate(LISTS, TEST, "Coverage@2", catalog=["q", "x"])
    with pytest.raises(UsageError, match="Expected a list of ids, such as"):
        evaluate(LISTS, TEST, "Coverage@2", catalog="x")


def test_evaluate_equals_metrics_of_rectools() -> None:
    data = json.loads((Path(__file__).parents[1] / "data" / "rectools_metrics.json").read_text(encoding="utf-8"))
    train, test = (pd.DataFrame(data[name], columns=["user_id", "item_id"]) for name in ("train", "test"))
    lists = pd.DataFrame(data["lists"], columns=["user_id", "item_id", "rank"])
    found = evaluate(lists, test, list(data["metrics"]), train=train, catalog=train["item_id"].unique())
    assert found == pytest.approx(data["metrics"], abs=1e-6)
    assert len(found) == 21
