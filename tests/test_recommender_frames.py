"""The estimator on frames: data types, types of ids, pairs, histories, filters of seen items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kgrec
from kgrec import DataError, Recommender, UnknownItem, UnknownUser, UsageError
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.content.tfidf import TFIDF

SIGNALS = ("popularity", "ease")
RNG = np.random.default_rng(0)
"""Users and items of two tastes: even users choose even items."""


def interactions() -> pd.DataFrame:
    user, item = np.nonzero((np.arange(30)[:, None] % 2 == np.arange(16) % 2) & (RNG.random((30, 16)) < 0.6))
    behavior = np.where(RNG.random(len(user)) < 0.3, "PURCHASED", "VIEWED")
    return pd.DataFrame(
        {"user_id": user + 1, "item_id": 100 + item, "timestamp": np.arange(len(user)), "behavior": behavior}
    )


FRAME = interactions()
ITEMS = pd.DataFrame({"item_id": np.arange(100, 116), "title": [f"item {n}" for n in range(16)], "price": range(16)})


@pytest.fixture(scope="module")
def model() -> Recommender:
    return Recommender(signals=SIGNALS).fit(kgrec.from_interactions(FRAME, ITEMS))


@pytest.mark.parametrize("form", ["pandas", "arrow", "tables", "snapshot", "store", "path"])
def test_fit_accepts_every_data_type(form: str, tmp_path: Path) -> None:
    tables = kgrec.from_interactions(FRAME)
    if form in ("store", "path"):
        with kgrec.open(tmp_path / "shop.lbug", create=True) as graph:
            graph.write(tables)
            if form == "store":
                fitted = Recommender(signals=SIGNALS).fit(graph)
    forms: dict[str, Any] = {
        "pandas": FRAME,
        "arrow": pa.Table.from_pandas(FRAME),
        "tables": tables,
        "snapshot": GraphSnapshot.from_tables(tables),
        "path": tmp_path / "shop.lbug",
    }
    fitted = fitted if form == "store" else Recommender(signals=SIGNALS).fit(forms[form])
    listed = fitted.recommend([1, 2], k=3)
    assert listed["user_id"].tolist() == [1, 1, 1, 2, 2, 2]
    assert (listed["item_id"] % 2 != listed["user_id"] % 2).all()


def test_fit_refuses_other_types() -> None:
    with pytest.raises(UsageError, match=r"the data are of type dict\. Expected a frame of interactions .* or a split"):
        Recommender().fit({"user_id": [1]})
    with pytest.raises(DataError, match="expected a column 'item_id'"):
        Recommender().fit(FRAME[["user_id"]])
    with pytest.raises(UsageError, match="no signal can be fitted on this data: tfidf, embeddings"):
        Recommender(signals=[TFIDF, "embeddings"]).fit(FRAME)


def test_ids_merge_with_the_source(model: Recommender) -> None:
    listed = model.recommend(FRAME["user_id"].unique(), k=2)
    assert listed[["user_id", "item_id"]].dtypes.tolist() == [np.int64, np.int64]
    assert len(listed.merge(ITEMS, on="item_id").merge(FRAME[["user_id"]].drop_duplicates())) == len(listed)
    similar = model.similar_items([100], k=2)
    assert similar[["item_id", "similar_item_id"]].dtypes.tolist() == [np.int64, np.int64]
    found = model.explain(1, 100)
    assert (found.user_id, found.item_id) == (1, 100)
    assert model.recommend([999], k=1, on_unknown="popular")["user_id"].tolist() == [999]
    for unknown in (10**20, "1_0", "x"):  # not a whole number of 64 bits
        listed = model.recommend([1, unknown], k=1, on_unknown="popular")
        assert listed["user_id"].tolist() == [1, str(unknown)]


def test_text_ids_stay_text() -> None:
    fitted = Recommender(signals=SIGNALS).fit(FRAME.astype({"user_id": str, "item_id": str}))
    listed = fitted.recommend(["1"], k=2)
    assert listed["item_id"].map(type).eq(str).all()
    assert listed["user_id"].tolist() == ["1", "1"]


def test_loaded_model_keeps_id_type(model: Recommender, tmp_path: Path) -> None:
    model.save(tmp_path / "run")
    again = Recommender.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.recommend([1, 2], names=True), model.recommend([1, 2], names=True))


def test_score_equals_recommend(model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = model.recommend([1, 2, 3], k=4).sample(frac=1, random_state=0)
    monkeypatch.setattr("kgrec.hybrid.audience.BATCH_SCORES", 1)
    scored = model.score(listed["user_id"], listed["item_id"])
    assert scored.columns.tolist() == ["user_id", "item_id", "score", "basis"]
    assert scored[["user_id", "item_id"]].to_numpy().tolist() == listed[["user_id", "item_id"]].to_numpy().tolist()
    np.testing.assert_allclose(scored["score"], listed["score"], rtol=1e-5)


def test_score_refuses_invalid_pairs(model: Recommender) -> None:
    with pytest.raises(UsageError, match="2 users and 1 items do not form pairs"):
        model.score([1, 2], [100])
    with pytest.raises(UnknownUser, match="99"):
        model.score([99], [100])
    with pytest.raises(UnknownItem, match="999"):
        model.score([1], [999])


def test_exclude_behaviors_keeps_other_types(model: Recommender) -> None:
    mine = FRAME[FRAME["user_id"] == 1]
    bought = set(mine.loc[mine["behavior"] == "PURCHASED", "item_id"])
    listed = set(model.recommend([1], k=99, exclude_behaviors=["PURCHASED"])["item_id"])
    assert listed == set(ITEMS["item_id"]) - bought
    assert set(model.recommend([1], k=99)["item_id"]) == set(ITEMS["item_id"]) - set(mine["item_id"])
    history = mine[["item_id", "behavior"]]
    assert set(model.recommend(history=history, k=99, exclude_behaviors=["PURCHASED"])["item_id"]) == listed
    with pytest.raises(UsageError, match="found the behavior 'BOUGHT'; expected one of"):
        model.recommend([1], exclude_behaviors=["BOUGHT"])
    with pytest.raises(UsageError, match=r"exclude_behaviors='PURCHASED'. Expected a list of types"):
        model.recommend([1], exclude_behaviors="PURCHASED")


def test_basis_column_names_the_source_of_scores(model: Recommender) -> None:
    listed = model.recommend([1, 999], k=1, on_unknown="popular")
    assert listed["basis"].tolist() == ["history", "popularity"]
    assert model.recommend(history=[100], k=1)["basis"].tolist() == ["history"]
    assert model.recommend(history=[], k=1)["basis"].tolist() == ["popularity"]


def test_history_equals_the_same_user(model: Recommender) -> None:
    mine = FRAME[FRAME["user_id"] == 1].drop(columns="user_id")
    known, new = model.recommend([1], k=5), model.recommend(history=mine, k=5)
    assert new["user_id"].tolist() == [None] * 5
    pd.testing.assert_frame_equal(new.drop(columns="user_id"), known.drop(columns="user_id"))


def test_history_of_several_users(model: Recommender) -> None:
    people = FRAME[FRAME["user_id"].isin([1, 2])].assign(user_id=lambda frame: frame["user_id"].map({1: "x", 2: "y"}))
    listed = model.recommend(history=people, k=3)
    assert listed["user_id"].tolist() == ["x"] * 3 + ["y"] * 3
    assert listed["item_id"].tolist() == model.recommend([1, 2], k=3)["item_id"].tolist()


def test_history_of_ids_gives_similar_items(model: Recommender) -> None:
    listed = model.recommend(history=[101, 103], k=4)
    assert (listed["item_id"] % 2 == 1).all()
    assert not listed["item_id"].isin([101, 103]).any()


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ("100", UsageError, r"history='100'; expected a list of ids"),
        ([100, 999], UnknownItem, "unknown item: '999'"),
        (pd.DataFrame({"item": [100]}), DataError, "expected a column 'item_id'"),
        (pd.DataFrame({"item_id": [100], "behavior": ["view"]}), UsageError, "found the behavior 'view'"),
        (pd.DataFrame({"item_id": [100], "weight": ["much"]}), DataError, "history:1: weight: found 'much'"),
        (pd.DataFrame({"item_id": [100], "timestamp": [None]}), DataError, "history:1: timestamp: found None"),
    ],
)
def test_history_refuses_bad_input(model: Recommender, history: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.recommend(history=history)


def test_similar_items_obeys_filters(model: Recommender) -> None:
    similar = model.similar_items([100], k=99, where={"price": {">=": 4}}, exclude=[104], domain="Item")
    assert set(similar["similar_item_id"]) <= set(range(105, 116))
    assert model.similar_items([100], k=9, items=[102, 104])["similar_item_id"].isin([102, 104]).all()
    assert (model.similar_items([100], k=3)["similar_item_id"] % 2 == 0).all()


def test_similar_items_without_similarity_says_why() -> None:
    fitted = Recommender(signals=["popularity"]).fit(FRAME)
    with pytest.raises(UsageError, match="none of the fitted signals measures the similarity of items: popularity"):
        fitted.similar_items([100])


def test_where_without_item_properties_fails() -> None:
    bare = Recommender(signals=["popularity"]).fit(FRAME[["user_id", "item_id"]])
    with pytest.raises(UsageError, match="'price': the items have no properties"):
        bare.recommend([1], where={"price": 3})


def test_bare_ids_are_refused_everywhere(model: Recommender) -> None:
    for call in (
        lambda: model.recommend("1"),
        lambda: model.recommend([1], items="100"),
        lambda: model.recommend([1], exclude="100"),
        lambda: model.score("1", "100"),
        lambda: model.similar_items("100"),
        lambda: model.similar_users("1"),
    ):
        with pytest.raises(UsageError, match="expected a list of ids"):
            call()
