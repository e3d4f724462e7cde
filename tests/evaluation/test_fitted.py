"""`Recommender.evaluate`, on splits and frames: equal to `kgrec benchmark` to the digit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kgrec import DataError, NotFittedError, Recommender, UnknownUser, UsageError
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, by_random
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.hybrid.model import HYBRID
from kgrec.testing.graphs import two_communities
from kgrec.testing.shops import shops

NAMES = ["NDCG@10", "Recall@10", "MRR@5", "MAP@5", "HR@5", "Precision@10"]


@pytest.fixture(scope="module")
def split(communities: GraphSnapshot) -> Split:
    return by_given(communities)


@pytest.fixture(scope="module")
def model(split: Split) -> Recommender:
    return Recommender(signals=("popularity", "ease", "item_knn")).fit(split)


@pytest.fixture(scope="module")
def held_out(split: Split) -> pd.DataFrame:
    test, whole = split.test, split.graph
    return pd.DataFrame({"user_id": whole.users.ids[test.user_num], "item_id": whole.items.ids[test.item_num]})


def test_measure_of_drawn_users_repeats_and_equals_theirs(model: Recommender, split: Split) -> None:
    every = measure(model._model, split, (10,))
    for (domain, some), again in zip(
        measure(model._model, split, (10,), max_users=5, seed=1).items(),
        measure(model._model, split, (10,), max_users=5, seed=1).values(),
        strict=True,
    ):
        assert len(some.user_num) == 5
        assert some.user_num.tolist() == again.user_num.tolist()
        rows = np.searchsorted(every[domain].user_num, some.user_num)
        wanted = every[domain].evaluations[HYBRID].per_user["NDCG@10"][rows]
        np.testing.assert_array_equal(some.evaluations[HYBRID].per_user["NDCG@10"], wanted)


def test_evaluate_on_a_split_equals_the_full_measurement(model: Recommender, split: Split) -> None:
    wanted = metrics(measure(model._model, split, (5, 10)), split.protocol)["models"][HYBRID]
    assert model.evaluate(split, NAMES) == {name: wanted[name] for name in NAMES}
    assert model.evaluate(split) == {name: wanted[name] for name in ("NDCG@10", "Recall@10")}


def test_evaluate_on_a_frame_equals_the_split(model: Recommender, split: Split, held_out: pd.DataFrame) -> None:
    names = [*NAMES, "Coverage@10", "Novelty@10"]
    assert model.evaluate(held_out, names) == pytest.approx(model.evaluate(split, names), abs=1e-6)


def test_evaluate_after_fit_finds_held_out_items(model: Recommender, split: Split) -> None:
    assert model.evaluate(split, "Recall@1")["Recall@1"] > 0.9


def test_evaluate_of_several_domains_equals_the_split() -> None:
    films_and_books = shops(0)
    split = by_random(films_and_books, 0.3, seed=0)
    model = Recommender(signals=("popularity", "ease")).fit(split)
    test, whole = split.test, split.graph
    frame = pd.DataFrame({"user_id": whole.users.ids[test.user_num], "item_id": whole.items.ids[test.item_num]})
    assert len(set(whole.item_domains)) == 2
    assert model.evaluate(frame, NAMES) == pytest.approx(model.evaluate(split, NAMES), abs=1e-6)


def test_evaluate_on_another_graph_is_refused(model: Recommender) -> None:
    other = by_given(GraphSnapshot.from_tables(two_communities(seed=1, n_users=5)))
    with pytest.raises(UsageError, match="the split is of another graph"):
        model.evaluate(other)


def test_evaluate_on_wrong_frames_names_the_problem(model: Recommender, held_out: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="user_id"):
        model.evaluate(held_out[["item_id"]])
    with pytest.raises(UsageError, match="unknown metric: 'AUC'"):
        model.evaluate(held_out, "AUC")
    stranger = held_out.head(1).assign(user_id="nobody")
    with pytest.raises(UnknownUser, match="nobody"):
        model.evaluate(stranger)
    assert model.evaluate(stranger, on_unknown="popular")["NDCG@10"] >= 0


def test_evaluate_before_fit_is_refused(split: Split) -> None:
    with pytest.raises(NotFittedError):
        Recommender().evaluate(split)
