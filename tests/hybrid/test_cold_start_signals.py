"""Signals tuned for cold-start users, if their best settings differ from those of active users."""

import copy
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import latest_of_users, uncut
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import RunError
from kgrec.evaluation.leakage import leaks
from kgrec.hybrid.cold_start import better_for_cold_start, cold_start_holdouts
from kgrec.hybrid.segment_models import SegmentModels
from kgrec.jobs.forget.rewrite_run import rewrite, without
from kgrec.runs.publish import check_complete
from kgrec.runs.save_load import load_model, save_model
from kgrec.signals.base import refit
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS
from kgrec.testing.shops import N_ITEMS, SCHEMA, shops
from kgrec.training.fold_in import fold_in
from kgrec.training.pipeline import train, training_sets
from kgrec.training.report import tried_table
from kgrec.tuning.validation import validation_sets

pytestmark = pytest.mark.slow

CONFIG = Config.checked({"signals": ["popularity", "item_knn"]})
N_USERS, N_NEW, OLD, LATE = 600, 100, 5, 3


def changed_fashion():
    """In shop b all buy five things of the old fashion, then three of the late one; the first hundred buy in a alone.

    What comes next for those at home is late, and what newcomers want is, most of it, old.
    """
    rng, half = np.random.default_rng(0), N_ITEMS // 2
    rows = []
    for user in range(N_USERS):
        bought = [f"a{item:02}" for item in rng.choice(N_ITEMS, 8, replace=False)]
        rows += [(f"u{user:03}", item, time) for time, item in enumerate(bought)]
        if user >= N_NEW:
            old, late = rng.choice(half, OLD, replace=False), half + rng.choice(half, LATE, replace=False)
            rows += [(f"u{user:03}", f"b{item:02}", time) for time, item in enumerate([*old, *late])]
    users, items, times = zip(*rows, strict=True)
    ids = [f"{shop}{i:02}" for shop in "ab" for i in range(N_ITEMS)]
    schema = SCHEMA.to_dict()
    schema["relationships"]["BOUGHT"]["properties"] = {"at": "datetime"}
    schema["roles"]["behaviours"]["BOUGHT"] = {"time": "at"}
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": ids, "shop": [item[0] for item in ids]}),
    }
    at = [datetime(2024, 1, 1) + timedelta(days=time) for time in times]
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": items, "at": at})}
    return GraphSnapshot.from_tables(check(GraphTables(Schema.from_dict(schema), nodes, edges)))


@pytest.fixture(scope="module")
def split():
    return latest_of_users(changed_fashion(), 0.1)


@pytest.fixture(scope="module")
def trained(split):
    return train(split, CONFIG, lambda _: {}, "train")


def everyone(model):
    return model.score(np.arange(model.train.n_users)).total


def of_shop_b(model):
    return np.flatnonzero(model.train.item_domains == "b")


def test_cold_start_settings_are_tuned_on_cold_start_users(trained):
    own = trained.choices["cold_start"]["popularity"]["settings"]
    assert own["half_life"] is None
    assert trained.choices["signals"]["popularity"]["settings"]["half_life"] is not None
    assert trained.model.segment_models.cold_start["popularity"].settings.model_dump() == own


def test_cold_start_signals_score_cold_start_users_only(trained):
    model, users, items = trained.model, np.arange(N_USERS), of_shop_b(trained.model)
    place, new = list(model.signals).index("popularity"), users < N_NEW
    found = model.score(users).parts[place]
    everybodys, cold_start = (of["popularity"].scores(users) for of in (model.signals, model.segment_models.cold_start))
    np.testing.assert_array_equal(found[new][:, items], cold_start[new][:, items])
    np.testing.assert_array_equal(found[~new], everybodys[~new])
    out_of_domain_weight = np.setdiff1d(np.arange(model.train.n_items), items)
    np.testing.assert_array_equal(found[new][:, out_of_domain_weight], everybodys[new][:, out_of_domain_weight])


def test_cold_start_users_get_all_time_popular_items(trained):
    items = of_shop_b(trained.model)
    best = everyone(trained.model)[:, items].argmax(axis=1)
    assert (best[:N_NEW] < N_ITEMS // 2).all()
    assert (best[N_NEW:] >= N_ITEMS // 2).all()


def test_shares_sum_to_the_score(trained):
    scored = trained.model.score(np.arange(N_USERS))
    best = scored.total.argsort(axis=1)[:, -5:].copy()
    total = np.take_along_axis(scored.total, best, axis=1)
    np.testing.assert_allclose(scored.shares(best).sum(axis=2), total, rtol=1e-4, atol=1e-4)


def test_few_cold_start_users_give_no_holdout(split):
    parts = training_sets(split, CONFIG, "train")
    holdout = next(holdout for holdout in validation_sets(parts.tuning_graph, parts.held_out) if holdout.domain == "b")
    new = np.flatnonzero(np.diff(holdout.seen.indptr) == 0)
    assert len(new) >= MIN_COLD_START_USERS
    assert len(cold_start_holdouts([holdout])[0].user_num) == len(new)
    assert not cold_start_holdouts([holdout.take(new[: MIN_COLD_START_USERS - 1])])


def test_no_cold_start_signal_without_a_difference():
    model = train(uncut(shops(n_new=100)), Config.checked({"signals": ["popularity"]}), lambda _: {}, "train").model
    assert not model.segment_models.cold_start


def test_better_for_cold_start_needs_an_improvement(trained, split):
    parts = training_sets(split, CONFIG, "train")
    holdouts = cold_start_holdouts(validation_sets(parts.tuning_graph, parts.held_out))
    fitted, own = (
        refit(of, parts.tuning_graph, {}, 0)["popularity"]
        for of in (trained.model.signals, trained.model.segment_models.cold_start)
    )
    assert better_for_cold_start(own, fitted, holdouts)
    assert not better_for_cold_start(fitted, own, holdouts)
    assert not better_for_cold_start(own, own, holdouts)


def test_loaded_run_scores_equal_and_lists_trials(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    again, _ = load_model(run.folder)
    np.testing.assert_array_equal(everyone(again.model), everyone(trained.model))
    assert "popularity for cold-start users" in set(tried_table(run.choices)["choice"])


def test_publish_without_cold_start_arrays_fails(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    (run.folder / "arrays" / "cold-start-popularity.safetensors").unlink()
    with pytest.raises(RunError, match=r"arrays/cold-start-popularity\.safetensors"):
        check_complete(run)


def test_fold_in_keeps_cold_start_signals(trained):
    again = fold_in(trained, trained.model.train, {})
    np.testing.assert_array_equal(everyone(again.model), everyone(trained.model))


def test_forget_refits_cold_start_signals(trained, tmp_path):
    run = save_model(tmp_path / "run", trained, CONFIG)
    rewrite(run, [("User", "u500")], "user", withdraw=lambda run: None)
    again, _ = load_model(run.folder)
    rest = without(trained.model.train, [("User", "u500")])
    expected = refit(trained.model.segment_models.cold_start, rest, {}, CONFIG.seed)["popularity"]
    users = np.arange(N_USERS - 1)
    np.testing.assert_array_equal(
        again.model.segment_models.cold_start["popularity"].scores(users), expected.scores(users)
    )


def test_leaks_of_cold_start_signals_are_empty(trained, split):
    assert leaks(split, trained, CONFIG, lambda _: {}, "train").empty


def test_leaks_find_test_rows_in_cold_start_signals(trained, split):
    knowing = refit(trained.model.segment_models.cold_start, split.graph, {}, CONFIG.seed)
    leaky = replace(trained, model=replace(trained.model, segment_models=SegmentModels(cold_start=knowing)))
    found = leaks(split, leaky, CONFIG, lambda _: {}, "train")
    assert set(found["stage"]) == {"popularity, cold start"}


def test_leaks_find_settings_tuned_on_other_validation_sets(trained, split):
    choices = copy.deepcopy(dict(trained.choices))
    choices["cold_start"]["popularity"]["metric_value"] += 0.1
    found = leaks(split, replace(trained, choices=choices), CONFIG, lambda _: {}, "train")
    assert found[["stage", "id"]].to_numpy().tolist() == [["settings", "popularity"]]
