"""Negative transfer: a domain that other domains harm uses its single-domain signals for in-domain users."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import uncut
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import RunError
from kgrec.evaluation.evaluate import measure
from kgrec.evaluation.leakage import leaks
from kgrec.evaluation.protocols import cut_for
from kgrec.hybrid import negative_transfer
from kgrec.hybrid.model import HYBRID
from kgrec.hybrid.negative_transfer import ALL_DOMAINS, PER_SIGNAL, SINGLE_DOMAIN
from kgrec.hybrid.segment_models import SegmentModels, fit_single_domain
from kgrec.jobs.forget.rewrite_run import rewrite, without
from kgrec.runs.publish import check_complete
from kgrec.runs.save_load import FACTS, load_model, save_model
from kgrec.testing.graphs import two_communities
from kgrec.testing.shops import N_ITEMS, SCHEMA, TASTES, twins
from kgrec.training import pipeline as training
from kgrec.training.fold_in import fold_in
from kgrec.training.pipeline import train
from kgrec.training.report import domains_table
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import validation_sets

pytestmark = pytest.mark.slow

CONFIG = Config.checked({"signals": ["popularity", "spectral"]})
N_USERS, N_NEW = 300, 50


def noisy_neighbor(n_noise=20):
    """Two shops: in b users buy four things of their taste, in a many at random; the last fifty buy in a alone."""
    rng = np.random.default_rng(0)
    items = [f"a{i:02}" for i in range(60)] + [f"b{i:02}" for i in range(N_ITEMS)]
    rows = []
    for user in range(N_USERS):
        rows += [(f"u{user:03}", f"a{i:02}") for i in rng.choice(60, n_noise, replace=False)]
        if user < N_USERS - N_NEW:
            taste = np.arange(user % TASTES, N_ITEMS, TASTES)
            rows += [(f"u{user:03}", f"b{i:02}") for i in rng.choice(taste, 4, replace=False)]
    users, bought = zip(*rows, strict=True)
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": items, "shop": [item[0] for item in items]}),
    }
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": bought})}
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, edges)))


def fitted(split, config=CONFIG):
    return train(split, config, lambda _: {}, "train")


@pytest.fixture(scope="module")
def split():
    return cut_for(noisy_neighbor(), "warm")


@pytest.fixture(scope="module")
def trained(split):
    return fitted(split)


@pytest.fixture(scope="module")
def together(split):
    """The same without the check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "check_negative_transfer", lambda state: state)
        return fitted(split)


def everyone(model):
    return model.score(np.arange(model.train.n_users)).total


def test_harmed_domain_uses_single_domain_signals(split, trained, together):
    found = trained.choices["domains"]["b"]
    assert found["learned from"] in (SINGLE_DOMAIN, PER_SIGNAL)
    assert "spectral" in found["single_domain"]
    assert found["gain"][0] == pytest.approx(found["options"][ALL_DOMAINS] - found["options"][SINGLE_DOMAIN])
    assert found["gain"][2] < 0
    assert found["options"][found["learned from"]] == max(found["options"].values())
    reached, without = (measure(t.model, split, [5])["b"].evaluations[HYBRID].per_user for t in (trained, together))
    assert reached["NDCG@5"].mean() > without["NDCG@5"].mean()


def test_helped_domain_uses_all_domains():
    trained = fitted(cut_for(twins(), "warm"))
    assert {found["learned from"] for found in trained.choices["domains"].values()} == {ALL_DOMAINS}
    assert min(found["gain"][1] for found in trained.choices["domains"].values()) > 0.1
    assert not trained.model.segment_models.single_domain


def test_single_domain_signals_score_in_domain_users_only(trained, together):
    home = np.arange(N_USERS) < N_USERS - N_NEW
    of_b = trained.model.train.item_domains == "b"
    parts, whole = (t.model.score(np.arange(N_USERS)).parts[1] for t in (trained, together))
    np.testing.assert_array_equal(parts[~home][:, of_b], whole[~home][:, of_b])
    own = trained.model.segment_models.single_domain["b"]["spectral"].scores(np.flatnonzero(home))
    np.testing.assert_array_equal(parts[home][:, of_b], own)
    assert (parts[home][:, of_b] != whole[home][:, of_b]).any(axis=1).all()


def test_shares_sum_to_the_score(trained):
    scored = trained.model.score(np.arange(N_USERS))
    best = scored.total.argsort(axis=1)[:, -5:].copy()
    total = np.take_along_axis(scored.total, best, axis=1)
    np.testing.assert_allclose(scored.shares(best).sum(axis=2), total, rtol=1e-4, atol=1e-4)


def test_loaded_run_scores_equal(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    assert set(run.info) == {"format", "created", "number", "files", *FACTS}
    again, _ = load_model(run.folder)
    np.testing.assert_array_equal(everyone(again.model), everyone(trained.model))
    table = domains_table(run.choices).set_index("domain")
    assert "spectral" in table.loc["b", "single_domain"]
    assert table.loc["b", "all against single domain"].startswith("-0.")


def test_forget_refits_single_domain_signals(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    rewrite(run, [("User", "u000")], "user", withdraw=lambda run: None)
    again, _ = load_model(run.folder)
    assert list(again.model.segment_models.single_domain["b"]) == list(trained.model.segment_models.single_domain["b"])
    rest = without(trained.model.train, [("User", "u000")])
    expected = fit_single_domain(trained.model.segment_models.single_domain["b"], rest, "b", {}, CONFIG.seed)[
        "spectral"
    ]
    users = np.arange(N_USERS - 1)
    np.testing.assert_allclose(
        again.model.segment_models.single_domain["b"]["spectral"].scores(users), expected.scores(users), atol=1e-6
    )


def test_publish_without_single_domain_arrays_fails(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    (run.folder / "arrays" / "single-domain-0-spectral.safetensors").unlink()
    with pytest.raises(RunError, match=r"arrays/single-domain-0-spectral\.safetensors"):
        check_complete(run)


def test_fold_in_of_the_same_graph_changes_nothing(trained):
    same = fold_in(trained, trained.model.train, {})
    np.testing.assert_array_equal(everyone(same.model), everyone(trained.model))


def test_leaks_are_empty(split, trained):
    assert leaks(split, trained, CONFIG, lambda _: {}, "train").empty


def test_leaks_find_test_rows_in_single_domain_signals(split, trained):
    with_test = fit_single_domain(trained.model.signals, split.graph, "b", {}, CONFIG.seed)
    leaky = replace(trained, model=replace(trained.model, segment_models=SegmentModels({"b": with_test})))
    assert "spectral, single domain b" in set(leaks(split, leaky, CONFIG, lambda _: {}, "train")["stage"])


def test_better_single_domain_compares_each_signal(split):
    """One signal knows the answers where it learned from all domains, the other where it learned alone."""
    parts = training.training_sets(split, CONFIG, "train")
    holdout = next(holdout for holdout in validation_sets(parts.tuning_graph, parts.held_out) if holdout.domain == "b")
    users = holdout.take(np.flatnonzero(np.diff(holdout.seen.indptr)))
    answers = parts.tuning_graph.pairs(parts.held_out).toarray()
    whole = {"first": Fixed(answers), "second": Fixed(-answers)}
    own = {"first": Fixed(-answers[:, holdout.item_num]), "second": Fixed(answers[:, holdout.item_num])}
    lists = negative_transfer._lists(whole, own, users, CONFIG.seed)
    assert list(negative_transfer._better_single_domain(whole, own, lists, users.metric)) == ["second"]


class Fixed:
    """Scores that are there already."""

    def __init__(self, known):
        self.known = known

    def scores(self, user_nums):
        return self.known[user_nums]


def test_unchecked_domain_is_reported(split, monkeypatch):
    monkeypatch.setattr(Budget, "affords", lambda *_: False)
    found = fitted(split).choices["domains"]["b"]
    assert found == {"learned from": ALL_DOMAINS, "unchecked": "no time left in the budget"}


def test_graph_of_one_domain_is_not_checked():
    graph = GraphSnapshot.from_tables(two_communities())
    assert fitted(uncut(graph), Config.checked({"signals": ["popularity"]})).choices["domains"] == {}
