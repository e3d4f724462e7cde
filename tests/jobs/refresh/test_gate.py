"""The gate: the comparison of two models on unseen interactions, and each reason to refuse the new one."""

import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.jobs.refresh.gate import MIN_TEST_CASES, compare, figures_of, reasons
from kgrec.metrics.ranking import Metric
from kgrec.recommender import Recommender
from kgrec.testing.graphs import two_communities

pytestmark = pytest.mark.slow

FINE = {"coverage": 0.5, "users without": 0.01, "schema": "a"}
SAME = {"users": 0}


def drop(**figures):
    figures = {"difference": -0.01, "low": -0.015, "high": -0.005} | figures
    return {"users": 500, "metric": "NDCG@20", "current": 0.2, "candidate": 0.19} | figures


@pytest.fixture(scope="module")
def cut():
    return by_given(GraphSnapshot.from_tables(two_communities(seed=1, n_users=30)))


@pytest.fixture(scope="module")
def models(cut):
    """What finds every withheld item, and what cannot."""
    good, bad = (Config(signals=signals, budget="1s") for signals in (("ease",), ("popularity",)))
    return Recommender(good).fit(cut)._model, Recommender(bad).fit(cut)._model


def test_gate_refuses_the_worse_model_only(cut, models):
    good, bad = models
    worse, better, same = (compare(*pair, cut, 0) for pair in ((good, bad), (bad, good), (good, good)))
    assert worse["users"] == cut.graph.n_users == 60
    assert worse["low"] <= worse["difference"] <= worse["high"] < 0
    [why] = reasons(worse, FINE, FINE)
    assert why.startswith(f"NDCG@20 falls from {worse['current']:.4f} to {worse['candidate']:.4f}")
    assert "60 test cases" in why
    assert better["difference"] == pytest.approx(-worse["difference"], abs=1e-5)
    assert reasons(better, FINE, FINE) == reasons(same, FINE, FINE) == []
    assert same["difference"] == 0


def test_compare_uses_the_given_metric(cut, models):
    by_ndcg, by_recall = (compare(*models, cut, 0, Metric.parse(name)) for name in ("NDCG@20", "Recall@1"))
    assert by_ndcg == compare(*models, cut, 0)
    assert (by_recall["metric"], by_recall["current"], by_recall["users"]) == ("Recall@1", 1.0, 60)
    [why] = reasons(by_recall, FINE, FINE)
    assert why.startswith(f"Recall@1 falls from 1.0000 to {by_recall['candidate']:.4f}")


@pytest.mark.parametrize(
    ("measured", "refused"),
    [
        (drop(), True),
        (drop(high=0.001), False),
        (drop(current=0.9), False),
        (drop(users=MIN_TEST_CASES), True),
        (drop(users=MIN_TEST_CASES - 1), False),
        (SAME, False),
    ],
    ids=["a drop", "perhaps none", "of 1 %", "of enough users", "of few users", "nobody to ask"],
)
def test_reasons_need_a_large_significant_drop(measured, refused):
    assert bool(reasons(measured, FINE, FINE)) is refused


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"coverage": 0.24}, "the lists cover 24.0% of the items, before 50.0%"),
        ({"users without": 0.03}, "3.0% of the users have no list, before 1.0%"),
        ({"schema": "b"}, "the schema differs from that of the live run"),
        ({"coverage": 0.26, "users without": 0.02}, None),
    ],
)
def test_gate_refuses_lower_coverage_and_other_schema(change, why):
    assert reasons(SAME, FINE, FINE | change) == ([why] if why else [])


def test_figures_of_uses_rank_20():
    listed = pa.table({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "rank": [1, 21, 1]})
    assert figures_of(listed, users=4, items=5, schema="a") == {"coverage": 0.2, "users without": 0.5, "schema": "a"}
