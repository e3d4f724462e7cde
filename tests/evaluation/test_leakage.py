"""Test rows planted into one stage of training are reported in that stage; a clean run has no leaks."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, by_random, by_time, leave_last_out
from kgrec.data.table_checks import check
from kgrec.evaluation.leakage import leaks, without_test
from kgrec.signals import signal_kinds
from kgrec.signals.cf import AttributeRidge, CrossDomainAE
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import COMMUNITY_SCHEMA, LIKED, two_communities
from kgrec.testing.new_users import users_of_trades
from kgrec.testing.planted_leaks import (
    blend,
    factors,
    fit_on_everything,
    kept_history,
    matrix,
    messages,
    order,
    positives,
    read_history,
    reverse_messages,
    weights_of_paths,
)
from kgrec.testing.shops import shops
from kgrec.text import VectorCache, describe, text_vectors
from kgrec.training import pipeline as training
from kgrec.training.pipeline import train
from kgrec.tuning.validation import validation_sets

pytestmark = pytest.mark.slow

ALL = tuple(name for name in Config().signals if name not in ("cross_domain_ae", "attribute_ridge"))
"""All that can work with one domain, and without attributes of users."""


def encode(snapshot):
    return text_vectors(snapshot, WordEncoder(), VectorCache())


@pytest.fixture
def split():
    """Every user's withheld item is test, one other item is valid."""
    whole = GraphSnapshot.from_tables(two_communities(seed=1))
    is_test = whole.behaviors.split == "test"
    is_valid = np.zeros_like(is_test)
    is_valid[~is_test] = by_random(whole.with_behaviors(~is_test), 0.1).is_test
    return Split(whole, is_valid, is_test, "one test and one valid item a user")


def found(split, signals, plant=lambda patch, split: None, fit_on="train", encode_leaky=encode):
    """What the audit finds after training with something planted: stage → rows found."""
    config = Config(signals=signals, budget="1s")
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, split)
        trained = train(split, config, encode_leaky, fit_on)
    return by_stage(leaks(split, trained, config, encode, fit_on))


def by_stage(rows):
    return {stage: part.drop(columns="stage") for stage, part in rows.groupby("stage", sort=False)}


def kinds(rows):
    return rows["kind"].value_counts().to_dict()


@pytest.mark.parametrize("fit_on", ["train", "train+valid"])
def test_leaks_of_clean_model_are_empty(split, fit_on):
    assert found(split, ALL, fit_on=fit_on) == {}


def test_leaks_are_empty_with_default_validation_cut():
    assert found(by_given(GraphSnapshot.from_tables(two_communities(seed=1))), ALL) == {}


@pytest.mark.parametrize("cut", [leave_last_out, by_time])
def test_leaks_are_empty_with_temporal_validation_cut(cut):
    assert found(cut(GraphSnapshot.from_tables(two_communities(seed=1))), ALL) == {}


@pytest.mark.parametrize("kind", signal_kinds(ALL), ids=lambda kind: kind.name)
def test_leaks_name_the_leaking_signal_only(split, kind):
    assert set(found(split, (kind.name, "popularity"), fit_on_everything(kind))) == {kind.name}


def test_leaks_find_cross_domain_ae_and_its_choices():
    split = by_random(shops(n_new=100), 0.1)
    assert found(split, ("cross_domain_ae", "popularity")) == {}
    assert set(found(split, ("cross_domain_ae", "popularity"), fit_on_everything(CrossDomainAE))) == {
        "cross_domain_ae",
        "settings",
        "blend",
    }


def test_leaks_find_attribute_ridge():
    split, names = by_given(GraphSnapshot.from_tables(users_of_trades())), ("attribute_ridge", "popularity")
    assert found(split, names) == {}
    assert set(found(split, names, fit_on_everything(AttributeRidge))) == {"attribute_ridge", "settings", "blend"}


@pytest.mark.parametrize(
    ("plant", "signal"),
    [
        (messages, "lightgcn"),
        (reverse_messages, "lightgcn"),
        (positives, "lightgcn"),
        (matrix, "ease"),
        (factors, "ials"),
        (order, "item_transitions"),
        (kept_history, "item_knn"),
        (read_history, "tfidf"),
        (weights_of_paths, "metapaths"),
    ],
)
def test_leaks_find_leak_in_one_part_of_a_signal(split, plant, signal):
    assert set(found(split, (signal, "popularity"), plant)) == {signal}


def test_leaks_blame_user_texts_not_signals(split):
    whole = split.graph
    alarm = found(split, ("embeddings", "lightgcn", "popularity"), encode_leaky=lambda snapshot: encode(whole))
    differ = np.abs(encode(whole)["User"] - encode(split.train)["User"]).max(axis=1) > 0.01
    assert set(alarm) == {"text vectors"}
    assert set(alarm["text vectors"]["kind"]) == {"User"}
    assert alarm["text vectors"]["id"].tolist() == whole.users.ids[differ].tolist()
    assert differ.sum() > 0.7 * whole.n_users


@pytest.fixture
def told():
    """A split in which the users' text is the sequence of their behaviors, cut in tokens."""
    data = COMMUNITY_SCHEMA.to_dict()
    data["nodes"]["User"]["text"] = ["{behaviours:4, 20 tokens}"]
    tables = replace(two_communities(seed=1), schema=Schema.from_dict(data))
    whole = GraphSnapshot.from_tables(tables)
    is_test = whole.behaviors.split == "test"
    is_valid = np.zeros_like(is_test)
    is_valid[~is_test] = by_random(whole.with_behaviors(~is_test), 0.1).is_test
    return Split(whole, is_valid, is_test, "one test and one valid item a user")


@pytest.mark.parametrize("fit_on", ["train", "train+valid"])
def test_leaks_are_empty_with_behavior_texts(told, fit_on):
    seen = []

    def watched(snapshot):
        seen.append(snapshot)
        return encode(snapshot)

    assert found(told, ("embeddings", "popularity"), fit_on=fit_on, encode_leaky=watched) == {}
    allowed = [told.train, told.train_and_valid][: len(seen)]
    for snapshot, clean in zip(seen, allowed, strict=True):
        assert list(describe(snapshot, "User")) == list(describe(clean, "User"))
        assert "then" in describe(snapshot, "User")[0]


def test_leaks_find_test_rows_in_behavior_texts(told):
    alarm = found(told, ("embeddings", "popularity"), encode_leaky=lambda snapshot: encode(told.graph))
    differ = np.abs(encode(told.graph)["User"] - encode(told.train)["User"]).max(axis=1) > 0.01
    assert set(alarm) == {"text vectors"}
    assert alarm["text vectors"]["id"].tolist() == told.graph.users.ids[differ].tolist()
    assert differ.sum() > 0.8 * told.graph.n_users


def test_leaks_find_test_rows_in_the_graph(split):
    alarm = found(split, ALL, lambda patch, split: patch.setattr(Split, "train", property(lambda self: self.graph)))
    assert next(iter(alarm)) == "graph"
    n_valid, n_test = split.is_valid.sum(), split.is_test.sum()
    assert kinds(alarm["graph"]) == {"behavior": n_valid + n_test, "pair": n_test}
    assert {*ALL, "statistics"} < set(alarm)


def test_leaks_find_test_rows_in_the_interaction_matrix(split):
    alarm = found(
        split, ("ease",), lambda patch, split: split.train.__dict__.update(interactions=split.graph.interactions)
    )
    assert kinds(alarm["graph"]) == {"pair": split.is_test.sum()}
    assert "ease" in alarm


def test_leaks_find_a_single_test_row(split):
    keep = ~(split.is_test | split.is_valid)
    keep[np.flatnonzero(split.is_test)[3]] = True
    one = split.graph.with_behaviors(keep)
    alarm = found(split, ALL, lambda patch, split: patch.setattr(Split, "train", property(lambda self: one)))
    row = split.graph.behaviors.where(np.flatnonzero(split.is_test)[[3]])
    pair = f"{split.graph.users.ids[row.user_num[0]]} {split.graph.items.ids[row.item_num[0]]}"
    assert alarm["graph"]["id"].tolist() == [pair, pair]
    assert set(ALL) < set(alarm)


def test_leaks_find_later_repetition_of_a_pair():
    tables = two_communities(seed=1)
    liked = tables.edges[LIKED]
    again = liked.filter(pa.compute.equal(liked.column("split"), "train")).slice(0, 5)
    again = again.set_column(3, "timestamp", pa.array([1e6] * 5)).set_column(4, "split", pa.array(["test"] * 5))
    both = check(replace(tables, edges={**tables.edges, LIKED: pa.concat_tables([liked, again])}))
    split = by_given(GraphSnapshot.from_tables(both))
    later = split.graph.with_behaviors((split.graph.behaviors.split == "train") | (split.graph.behaviors.time == 1e6))
    assert found(split, ("ease",)) == {}
    alarm = found(split, ("ease",), lambda patch, split: patch.setattr(Split, "train", property(lambda self: later)))
    assert kinds(alarm["graph"]) == {"behavior": 5}


def test_leaks_find_leaky_validation_sets(split):
    def plant(patch, split):
        def planted(train, _, *rest, **named):
            return validation_sets(train, split.test, *rest, **named)

        patch.setattr(training, "validation_sets", planted)

    assert set(found(split, ("popularity", "ease", "tfidf"), plant)) == {"settings", "blend"}


def test_leaks_find_leaky_blend(split):
    assert set(found(split, ("popularity", "ease", "tfidf"), blend)) == {"blend"}


@pytest.mark.parametrize("name", ["activity", "popularity"])
def test_leaks_find_leaky_model_statistics(split, name):
    config = Config(signals=("popularity", "ease"), budget="1s")
    trained = train(split, config, encode, "train")
    leaky = replace(trained.model, train=split.graph)
    trained.model.__dict__[name] = getattr(leaky, name)
    found_rows = leaks(split, trained, config, encode, "train")
    assert set(found_rows["stage"]) == {"statistics"}
    assert set(found_rows["kind"]) == {"user" if name == "activity" else "item"}


def test_without_test_removes_every_test_row(split):
    clean = without_test(split)
    assert clean.graph.interactions.multiply(split.graph.pairs(split.test)).nnz == 0
    assert clean.train.digest == split.train.digest
    assert len(clean.valid) == len(split.valid)


def test_leaks_cover_the_cold_start_blend(split):
    config = Config(signals=("popularity", "ease"), budget="1s")
    trained = train(split, config, encode, "train")
    blends = {domain: replace(blend, cold_start=blend.default) for domain, blend in trained.model.blends.items()}
    leaky = replace(trained, model=replace(trained.model, blends=blends))
    assert set(leaks(split, leaky, config, encode, "train")["stage"]) == {"blend"}
