"""Settings are chosen by their metric on the validation split, along search ranges, within the budget."""

from typing import ClassVar

import numpy as np
import pytest

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.metrics.ranking import Metric, evaluate
from kgrec.ranking.top_k import top_k
from kgrec.signals.base import Grid, LogRange, Signal, SignalSettings
from kgrec.signals.cf.popularity import Popularity
from kgrec.testing.graphs import two_communities
from kgrec.testing.shops import twins
from kgrec.tuning import validation
from kgrec.tuning.budget import SearchBudget
from kgrec.tuning.search import tune
from kgrec.tuning.validation import ValidationSet, evaluate_each, validation_sets


class Settings(SignalSettings):
    level: float = 1.0
    trick: bool = False


class Hill(Signal):
    """Scores held-out items highest, with noise that grows with the distance of `level` from 8 and without `trick`."""

    name: ClassVar[str] = "hill"
    Settings = Settings
    grid: ClassVar[Grid] = {"level": LogRange(2.0, 0.1, 100), "trick": (True,)}
    fits: ClassVar[list[float]] = []

    @classmethod
    def cost(cls, settings, train):
        return 1.0

    def fit(self, train, vectors, seed=0):
        self.fits.append(self.settings.level)
        rng = np.random.default_rng(seed)
        far = abs(np.log2(self.settings.level / 8)) + (0 if self.settings.trick else 1.2)
        self._scores = ANSWERS + far * rng.random(ANSWERS.shape)
        return self

    def scores(self, user_nums):
        return self._scores[user_nums].astype(np.float32)

    def state(self):
        return {}

    def restore(self, train, vectors, state):
        return self

    def fold_in(self, delta):
        return self


WHOLE = GraphSnapshot.from_tables(two_communities(seed=2, n_users=200))
SPLIT = by_given(WHOLE)
ANSWERS = WHOLE.pairs(SPLIT.test).toarray()


@pytest.fixture
def holdouts():
    Hill.fits = []
    return validation_sets(SPLIT.train, SPLIT.test)


def test_range_search_climbs_to_the_best_value(holdouts):
    choice = tune(Hill, SPLIT.train, {}, holdouts)
    assert Hill.fits == [1.0, 2.0, 4.0, 8.0, 16.0, 8.0], "up to the first value that does not help, then the trick"
    assert choice.signal.settings == Settings(level=8.0, trick=True)
    assert choice.metric_value == max(tried["metric_value"] for tried in choice.tried) == 1.0
    assert [tried["settings"]["level"] for tried in choice.tried] == Hill.fits


def test_search_stops_when_its_budget_is_spent(holdouts):
    choice = tune(Hill, SPLIT.train, {}, holdouts, 0, SearchBudget(3.0, by_clock=False))
    assert Hill.fits == [1.0, 2.0, 4.0]
    assert choice.signal.settings.level == 4.0


def test_defaults_are_fitted_without_any_budget(holdouts):
    choice = tune(Hill, SPLIT.train, {}, holdouts, 0, SearchBudget(0.0, by_clock=True))
    assert Hill.fits == [1.0]
    assert choice.signal.settings == Settings()


class Halved(Hill):
    """The same signal with a low-fidelity fit, whose scores are noisier."""

    class Settings(Settings):
        effort: int = 8

    grid: ClassVar[Grid] = {"level": LogRange(2.0, 0.1, 100), "trick": (True,)}

    @classmethod
    def low_fidelity(cls, settings):
        return settings.model_copy(update={"effort": settings.effort // 2})

    def fit(self, train, vectors, seed=0):
        super().fit(train, vectors, seed)
        self._scores = self._scores + (8 - self.settings.effort) / 2 * np.random.default_rng(9).random(ANSWERS.shape)
        return self


def test_low_fidelity_winners_are_fitted_fully(holdouts):
    choice = tune(Halved, SPLIT.train, {}, holdouts)
    fits = [(tried["settings"]["level"], tried["settings"]["effort"]) for tried in choice.tried]
    up = [(1.0, 8), (1.0, 4), (2.0, 4), (2.0, 8), (4.0, 4), (4.0, 8), (8.0, 4), (8.0, 8)]
    assert fits == [*up, (16.0, 4), (8.0, 4), (8.0, 8)], "16 is given up after half a fit; then the trick"
    assert [tried["settings"]["effort"] == 4 for tried in choice.tried] == [
        t.get("low_fidelity", False) for t in choice.tried
    ]
    assert choice.signal.settings == Halved.Settings(level=8.0, trick=True)


def test_integer_range_stays_integer_within_bounds():
    log_range = LogRange(2.0, 16, 128)
    assert list(log_range.neighbors_of(32, up=True)) == [64, 128]
    assert list(log_range.neighbors_of(32, up=False)) == [16]
    assert list(LogRange(4.0, 0.5, 64).neighbors_of(None, up=False)) == [64, 16, 4, 1]
    assert list(LogRange(4.0, 0.5, 64).neighbors_of(None, up=True)) == []


def test_fixed_setting_is_not_searched(holdouts):
    free = tune(Hill, SPLIT.train, {}, holdouts)
    assert len({tuple(one["settings"].items()) for one in free.tried}) > 1
    name = next(iter(Hill.grid))
    value = getattr(Hill.Settings(), name)
    choice = tune(Hill, SPLIT.train, {}, holdouts, fixed={name: value})
    assert {one["settings"][name] for one in choice.tried} == {value}


def test_tuning_uses_the_configured_metric():
    by_recall = validation_sets(SPLIT.train, SPLIT.test, metric=Metric.parse("Recall@5"))
    by_ndcg = validation_sets(SPLIT.train, SPLIT.test)
    scores = by_ndcg[0].scores(Popularity().fit(SPLIT.train, {}).scores)
    expected = evaluate(top_k(scores, 5, by_recall[0].seen), by_recall[0].relevant, by_recall[0].seen, [5])
    np.testing.assert_array_equal(by_recall[0].evaluate(scores), expected.per_user["Recall@5"])
    assert (by_ndcg[0].evaluate(scores) != by_recall[0].evaluate(scores)).any()


def of_two_domains() -> list[ValidationSet]:
    graph = twins()
    held_out = np.random.default_rng(0).random(len(graph.behaviors)) < 0.3
    return validation_sets(graph.with_behaviors(~held_out), graph.behaviors.where(held_out))


def test_user_of_two_domains_is_scored_once() -> None:
    holdouts = of_two_domains()
    scored: list[int] = []
    n_items = sum(len(holdout.item_num) for holdout in holdouts)
    known = np.random.default_rng(0).random((1_000, n_items)).astype(np.float32)

    def scores(user_nums: IntArray) -> FloatArray:
        scored.extend(user_nums.tolist())
        return known[user_nums]

    reached = evaluate_each(holdouts, scores)
    assert len(scored) == len(set(scored)) < sum(len(holdout.user_num) for holdout in holdouts)
    for holdout, values in zip(holdouts, reached, strict=True):
        np.testing.assert_array_equal(values, holdout.evaluate(holdout.scores(known.__getitem__)))


def in_domain(holdout: ValidationSet) -> set[int]:
    return set(holdout.user_num[np.diff(holdout.seen.indptr) > 0].tolist())


def test_domains_draw_the_same_validation_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_SCORES", 40 * twins().n_items)
    one, other = (in_domain(holdout) for holdout in of_two_domains())
    assert len(one) == len(other) == 40
    assert len(one & other) > 15, "two thirds of the users are asked in each domain; independent draws share 5 of 40"
