"""The blend beats its signals if they complement each other, and is never worse than the best one."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.histories import row_means
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_random
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, GroupedBlend
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, Scale, standardize
from kgrec.hybrid.learn_blend import _best, _Option, fit_blend
from kgrec.metrics.ranking import ndcg_at
from kgrec.signals.graph.metapath_matrices import build_metapaths
from kgrec.testing.thin_graphs import thin_graph

N_USERS, N_ITEMS = 300, 120


@cache
def case(seed=0):
    """Users with a hidden taste; two signals see it through noise, on scales of their own; the third is noise alone."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(N_USERS, N_ITEMS))
    order = np.argsort(-taste, axis=1)
    relevant, seen = np.zeros(taste.shape), np.zeros(taste.shape)
    np.put_along_axis(relevant, order[:, 1:12:2], 1, axis=1)
    np.put_along_axis(seen, order[:, 0:12:2], 1, axis=1)
    scale = np.exp(rng.normal(size=(N_USERS, 1)))
    first = scale * (taste + rng.normal(size=taste.shape)) + 3
    second = 0.01 * (taste + 1.5 * rng.normal(size=taste.shape))
    noise = 10 * rng.normal(size=taste.shape)
    scores = [part.astype(np.float32) for part in (first, second, noise)]
    popularity = rng.integers(1, 100, N_ITEMS).astype(np.float32)
    return scores, sp.csr_matrix(seen), sp.csr_matrix(relevant), popularity


@cache
def fitted(seed=0):
    scores, seen, relevant, popularity = case()
    return fit_blend(("first", "second", "noise"), scores, seen, relevant, popularity, seed)


def combined(blend, data):
    scores, seen, _, popularity = data
    return blend.combine(scores, seen, popularity)


def mean_ndcg(scores, data):
    return ndcg_at(scores, data[2], data[1], 20).mean()


def test_blend_beats_its_signals_on_unseen_users():
    blend, unseen = fitted(), case(seed=1)
    best = max(mean_ndcg(part, unseen) for part in unseen[0])
    assert mean_ndcg(combined(blend, unseen), unseen) > best + 0.02
    assert blend.default.kind not in ("single", "stacking")


def test_best_option_must_be_significantly_better():
    rng = np.random.default_rng(0)
    ndcg = {way: 0.3 + rng.normal(0, 0.1, 400) for way in ("ndcg_search", "mean", "listwise_mean", "anchored")}
    options = {
        way: _Option(np.zeros((len(FEATURE_KINDS), 2)), values - values.mean() + 0.3) for way, values in ndcg.items()
    }
    options["single"] = replace(options["mean"], per_user=options["mean"].per_user - 0.01)
    assert [_best(options, mean_relevant) for mean_relevant in (1.2, 8)] == ["mean", "listwise_mean"]
    for gain, kind in ((0.01, "mean"), (0.03, "ndcg_search")):  # the standard error of the difference is 0.007
        better = replace(options["ndcg_search"], per_user=options["ndcg_search"].per_user + gain)
        assert _best({**options, "ndcg_search": better}, 1.2) == kind


def test_blend_with_a_loss_is_anchored():
    """A blend that is worse than the best signal on users it was not learned from mostly follows that signal."""
    rng = np.random.default_rng(0)
    values = {way: 0.3 + rng.normal(0, 0.1, 400) for way in ("single", "mean", "listwise_mean", "anchored")}
    weights = np.zeros((len(FEATURE_KINDS), 2))
    options = {way: _Option(weights, part - part.mean() + 0.3) for way, part in values.items()}
    for gain, kind in ((0.003, "mean"), (0.01, "anchored")):  # the standard error of the difference is 0.007
        better = replace(options["single"], per_user=options["single"].per_user + gain)
        assert _best({**options, "single": better}, 1.2) == kind


def path_scores(train: GraphSnapshot, users: IntArray) -> list[FloatArray]:
    """Log popularity, and the relatedness of each meta-path to the users' items, float32 [n users, n_items] each."""
    popularity, history = train.interactions.sum(axis=0), row_means(train.interactions[users])
    paths = [((history @ path.left) @ path.right.T).toarray() for path in build_metapaths(train, 1.0)]
    return [np.tile(np.log1p(np.asarray(popularity, np.float32)).reshape(1, -1), (len(users), 1)), *paths]


def test_blend_is_not_worse_than_best_path_and_popularity():
    """Of four relations one says what most users of a single behavior take next, the popular items first."""
    graph = GraphSnapshot.from_tables(thin_graph(seed=1, n_users=1500, n_items=1000, n_idle=3))
    train = graph.with_behaviors(graph.behaviors.split == "train")
    cut, test = by_random(train), graph.pairs(graph.behaviors.where(graph.behaviors.split == "test"))
    valid = cut.train.pairs(cut.test)
    asked, users = (np.flatnonzero(np.diff(part.indptr)) for part in (valid, test))
    parts, popularity = path_scores(cut.train, asked), np.asarray(cut.train.interactions.sum(axis=0)).ravel()
    blend = fit_blend("abcde", parts, cut.train.interactions[asked], valid[asked], popularity)
    parts = path_scores(train, users)
    data = (parts, train.interactions[users], test[users], np.asarray(train.interactions.sum(axis=0)).ravel())
    best = max(mean_ndcg(parts[0] + weight * part, data) for part in parts[1:] for weight in (4, 12))
    assert mean_ndcg(combined(blend, data), data) > 0.97 * best > 1.5 * max(mean_ndcg(part, data) for part in parts)


@pytest.mark.parametrize("seed", range(2))
def test_blend_of_one_good_signal_is_hardly_worse(seed):
    """One signal knows the taste of 60 users, seven others know nothing: on other users the blend loses at most 2 %."""
    data = case(seed)
    rng = np.random.default_rng(seed)
    parts = [data[0][0], *rng.normal(size=(7, N_USERS, N_ITEMS)).astype(np.float32)]
    one = sp.csr_matrix(data[2].toarray() * (data[2].toarray().cumsum(axis=1) == 1))
    blend = fit_blend("abcdefgh", [part[:60] for part in parts], data[1][:60], one[:60], data[3])
    rest = ([part[60:] for part in parts], data[1][60:], one[60:], data[3])
    assert mean_ndcg(combined(blend, rest), rest) > 0.98 * mean_ndcg(rest[0][0], rest)


def test_blend_of_one_signal_is_the_signal():
    _, seen, relevant, popularity = case()
    backwards = -case()[0][0]
    blend = fit_blend(("only",), [backwards], seen, relevant, popularity)
    assert blend.default.kind == "single"
    assert blend.default.weights[FEATURE_KINDS.index("raw"), 0] == 1


def test_blend_weights_follow_signal_quality():
    scores, seen, _, popularity = case()
    rows, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    first, second, noise = fitted().contributions(scores, seen, popularity, rows, items).std(axis=0)
    assert noise < 0.1 * (first + second)
    assert first > second > 0


def test_blend_of_shuffled_relevance_gains_nothing():
    scores, seen, relevant, popularity = case()
    others = np.random.default_rng(0).permutation(N_USERS)
    mixed = sp.csr_matrix(relevant[others].toarray() * (seen.toarray() == 0))
    blend = fit_blend(("first", "second", "noise"), scores, seen, mixed, popularity)
    assert blend.default.report["blend"] < 0.5 * fitted().default.report["blend"]


@pytest.mark.parametrize("seed", range(3))
def test_blend_is_not_worse_than_best_signal_on_validation(seed):
    """Few users, one good signal and much noise: where learning can only do harm."""
    scores, seen, relevant, popularity = (
        part[: 10 + 15 * seed] if i < 3 else part
        for i, part in enumerate([np.stack(case(seed)[0], 1), *case(seed)[1:]])
    )
    rng = np.random.default_rng(seed)
    parts = [scores[:, 0], *(rng.normal(size=(4, *scores[:, 0].shape)).astype(np.float32))]
    blend = fit_blend("abcde", parts, seen, relevant, popularity)
    data = (parts, seen, relevant, popularity)
    assert mean_ndcg(combined(blend, data), data) >= max(mean_ndcg(part, data) for part in parts)


def kept_items(seen, counts):
    """The first `counts` [n] items of every user."""
    row = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    kept = np.arange(seen.nnz) - seen.indptr[row] < counts[row]
    return sp.csr_matrix((seen.data[kept], (row[kept], seen.indices[kept])), shape=seen.shape)


def test_cold_start_users_get_their_own_blend():
    """One signal is right about those who have something, the other about those who have nothing yet."""
    scores, seen, relevant, popularity = case()
    new = np.arange(N_USERS) % 3 == 0
    seen = kept_items(seen, np.where(new, 0, 6))
    parts = [np.where(new[:, None], scores[2], scores[0]), np.where(new[:, None], scores[0], scores[2])]
    blend = fit_blend("ab", parts, seen, relevant, popularity)
    data = (parts, seen, relevant, popularity)
    assert combined(blend, data).shape == parts[0].shape
    reached = ndcg_at(combined(blend, data), relevant, seen, 20)
    alone = ndcg_at(combined(blend.default, data), relevant, seen, 20)
    np.testing.assert_array_equal(reached[~new], alone[~new])
    assert reached[new].mean() > 2 * alone[new].mean()
    rows, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    shares = blend.contributions(parts, seen, popularity, rows, items).sum(axis=1)
    np.testing.assert_allclose(shares.reshape(parts[0].shape), combined(blend, data), rtol=1e-3, atol=1e-4)
    assert GroupedBlend.from_dict(json.loads(json.dumps(blend.to_dict()))).to_dict() == blend.to_dict()


def test_blend_learns_activity_weights():
    """Each signal is right about half of the users only, and activity tells which."""
    scores, seen, relevant, popularity = case()
    busy = np.arange(N_USERS) % 2 == 0
    seen = kept_items(seen, np.where(busy, 6, 1))
    right, wrong = scores[0], scores[2]
    parts = [np.where(busy[:, None], right, wrong), np.where(busy[:, None], wrong, right)]
    blend = fit_blend("ab", parts, seen, relevant, popularity)
    z, by_activity = (
        blend.default.weights[FEATURE_KINDS.index("zscore")],
        blend.default.weights[FEATURE_KINDS.index("activity")],
    )
    assert by_activity[0] > 0.5 * z[0] > 0
    assert by_activity[1] < -0.5 * z[1] < 0
    assert blend.default.report["blend"] > 1.3 * blend.default.report["options"]["ndcg_search"]


def test_blend_learns_popularity_weights():
    """Each signal is right about half of the items only, and popularity tells which."""
    scores, seen, relevant, _ = case()
    popular = np.arange(N_ITEMS) % 2 == 0
    right, wrong = scores[0], scores[2] / 10
    parts = [np.where(popular, right, wrong), np.where(popular, wrong, right)]
    blend = fit_blend("ab", parts, seen, relevant, np.where(popular, 100, 1))
    by_popularity = blend.default.weights[FEATURE_KINDS.index("popularity")]
    assert by_popularity[0] > 0 > by_popularity[1]
    assert blend.default.report["options"]["max_likelihood"] > 1.1 * blend.default.report["options"]["ndcg_search"]
    assert blend.default.kind == "max_likelihood"


def test_blend_uses_raw_scale_when_informative():
    """Each signal is loud for the users it is right about and faint for the others, which z-scores take away."""
    scores, seen, relevant, popularity = case()
    rng = np.random.default_rng(5)
    first = rng.random((N_USERS, 1)) < 0.5
    taste, faint = scores[1], rng.normal(0, 0.1 * scores[1].std(), (2, N_USERS, N_ITEMS)).astype(np.float32)
    parts = [np.where(first, taste, faint[0]), np.where(first, faint[1], taste)]
    blend = fit_blend("ab", parts, seen, relevant, popularity)
    options = blend.default.report["options"]
    assert options["stacking"] > 1.2 * options["ndcg_search"]
    assert options["stacking"] > 1.2 * options["single"]
    assert blend.default.report["blend"] > 1.2 * options["ndcg_search"]


def test_blend_corrects_popularity_bias():
    scores, seen, relevant, popularity = case()
    bias = np.tile(np.random.default_rng(6).normal(size=N_ITEMS).astype(np.float32), (N_USERS, 1))
    blend = fit_blend("ab", [100 * scores[1] + 3 * bias, bias], seen, relevant, popularity)
    assert blend.default.weights[0, 1] < 0 < blend.default.weights[0, 0]
    assert blend.default.report["blend"] > 1.5 * blend.default.report["signals"]["a"]


def test_blend_report_lists_baseline_and_signals():
    report = fitted().default.report
    assert set(report["options"]) == {
        "single",
        "stacking",
        "hard_negatives",
        "ndcg_search",
        "max_likelihood",
        "mean",
        "listwise_mean",
        "anchored",
    }
    assert report["options"]["mean"] > report["options"]["stacking"]
    assert sum(report["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert report["shares"]["first"] > report["shares"]["second"] > report["shares"]["noise"]
    gain, low, high = report["gain"]
    assert 0 < low < gain < high
    assert report["signals"]["first"] == pytest.approx(mean_ndcg(case()[0][0], case()), abs=1e-6)
    assert len(report["fusion_weights"]) == 3


@pytest.mark.parametrize("form", [*FEATURE_KINDS, "all"])
def test_contributions_sum_to_the_score(form):
    scores, seen, _, popularity = data = case()
    rng = np.random.default_rng(0)
    weights = rng.random((len(FEATURE_KINDS), 3)) * (np.array(FEATURE_KINDS)[:, None] == form if form != "all" else 1)
    scales = Scale.from_counts(np.diff(seen.indptr)), Scale.from_counts(popularity)
    blend = Blend(("a", "b", "c"), "mean", weights.astype(np.float32), *scales, {})
    rows, items = rng.integers(N_USERS, size=50), rng.integers(N_ITEMS, size=50)
    shares = blend.contributions(scores, seen, popularity, rows, items)
    assert shares.shape == (50, 3)
    np.testing.assert_allclose(shares.sum(axis=1), combined(blend, data)[rows, items], rtol=1e-4, atol=1e-5)


def test_blend_scores_do_not_depend_on_the_batch():
    scores, seen, _, popularity = data = case()
    alone = fitted().combine([part[7:8] for part in scores], seen[7:8], popularity)
    np.testing.assert_allclose(alone[0], combined(fitted(), data)[7], rtol=1e-4, atol=1e-5)


def test_blend_survives_json_and_repeats_by_seed():
    blend = fitted()
    restored = GroupedBlend.from_dict(json.loads(json.dumps(blend.to_dict())))
    np.testing.assert_array_equal(combined(restored, case()), combined(blend, case()))
    assert restored.to_dict() == blend.to_dict()
    fitted.cache_clear()
    assert fitted().to_dict() == blend.to_dict()


def test_standardize_uses_unseen_items():
    scores, seen, *_ = case()
    z = np.ma.masked_array(standardize(scores[0], seen), seen.toarray() > 0)
    np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=1), 1, atol=1e-4)
    assert not standardize(np.full((2, 5), 7.3, np.float32), sp.csr_matrix((2, 5))).any()


def test_standardize_ignores_seen_outliers():
    rest = np.array([[1.0, 1.001, 1.002, 1.003]], np.float32)
    seen = sp.csr_matrix(np.array([[0, 0, 0, 0, 1.0]]))
    far = standardize(np.append(rest, [[1e6]], axis=1).astype(np.float32), seen)
    np.testing.assert_allclose(far[:, :4], standardize(rest, sp.csr_matrix((1, 4))), rtol=1e-3)
    assert not standardize(np.array([[2, 2, 2, 2, 1e6]], np.float32), seen)[0, :4].any()


def test_equal_activity_gets_no_weight():
    scores, seen, relevant, popularity = case()
    scale = Scale.from_counts(np.full(1000, 3))
    assert not scale(np.full(1000, 3)).any()
    blend = fit_blend("ab", scores[:2], seen, relevant, popularity)
    assert (
        np.abs(blend.default.weights[FEATURE_KINDS.index("activity")]).max()
        < 1e-6 * np.abs(blend.default.weights).max()
    )


def test_blend_learns_from_users_with_one_unseen_item():
    scores, _, relevant, popularity = case()
    rest = sp.csr_matrix((relevant.toarray() == 0).astype(np.float32))
    assert fit_blend("abc", scores, rest, relevant, popularity).default.report["blend"] == pytest.approx(1)


def test_blend_ignores_users_without_validation_items():
    scores, seen, relevant, popularity = case()
    none = sp.csr_matrix(relevant.toarray() * (np.arange(N_USERS)[:, None] < 200))
    few = fit_blend("abc", [s[:200] for s in scores], seen[:200], relevant[:200], popularity)
    assert fit_blend("abc", scores, seen, none, popularity).to_dict() == few.to_dict()


def test_blend_without_validation_items_fails():
    scores, seen, relevant, popularity = case()
    with pytest.raises(UsageError, match="no validation item"):
        fit_blend("abc", scores, seen, sp.csr_matrix(relevant.shape), popularity)
