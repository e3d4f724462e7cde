"""Contract tests of signals. The test of a signal is a subclass that names it:

class TestMySignal(SignalContract):
    signal = MySignal
"""

# ruff: noqa: D102  (the names of tests describe them)
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import load, save

from kgrec._util.array_layout import check_arrays
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import NotFittedError
from kgrec.signals.base import LogRange, Signal
from kgrec.testing.graphs import KnownAnswers, community_answers

FIRST = 0.95
"""Minimum share of users for whom the right item ranks first."""
DESTROYED = 0.4
"""Maximum of that share with shuffled labels; chance is 1 of 11 in the graph of communities."""
MAX_COST = 4
"""Settings of the grid that cost more than this multiple of the default ones are not tried."""


class SignalContract:
    """Tests of the Signal port.

    Attributes:
        signal: the class of the signal.
        settings: settings for a quick fit; by default those of the signal.
    """

    signal: ClassVar[type[Signal]]
    settings: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def answers(cls, destroyed: bool = False) -> KnownAnswers:
        """Return a graph with known answers; override it if the signal needs another graph than `community_answers`.

        Args:
            destroyed: return a graph with shuffled labels.
        """
        return community_answers(destroyed)

    @classmethod
    def new(cls, **settings: Any) -> Signal:
        """Return an unfitted signal."""
        return cls.signal(cls.signal.Settings.model_validate({**cls.settings, **settings}))

    @classmethod
    def settings_of_grid(cls) -> list[dict[str, Any]]:
        """Return each setting of the grid at all its values, or at both ends of its range."""
        return [{name: end} for name in cls.signal.grid for end in _ends(cls.signal, name)]

    @pytest.fixture(scope="class")
    @classmethod
    def known(cls) -> KnownAnswers:
        """The graph with known answers."""
        return cls.answers()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, known: KnownAnswers) -> Signal:
        """The signal, fitted on that graph."""
        return cls.new().fit(known.train, known.vectors, seed=5)

    def test_right_items_rank_first(self, known: KnownAnswers, fitted: Signal) -> None:
        if not self.signal.personalized:
            pytest.skip("scores are the same for all users")
        assert known.share_first(fitted.scores(known.user_nums)) > FIRST

    def test_shuffled_labels_destroy_the_result(self) -> None:
        destroyed = self.answers(destroyed=True)
        fitted = self.new().fit(destroyed.train, destroyed.vectors)
        assert destroyed.share_first(fitted.scores(destroyed.user_nums)) < DESTROYED

    def test_scores_are_equal_unless_personalized(self, known: KnownAnswers, fitted: Signal) -> None:
        scores = fitted.scores(known.user_nums)
        assert (scores == scores[:1]).all() == (not self.signal.personalized)

    def test_scores_are_finite_float32_of_all_items(self, known: KnownAnswers, fitted: Signal) -> None:
        scores = fitted.scores(np.array([3, 0, 7]))
        assert scores.dtype == np.float32
        assert scores.shape == (3, known.train.n_items)
        assert np.isfinite(scores).all()
        assert fitted.scores(np.array([], np.int64)).shape == (0, known.train.n_items)

    def test_scores_do_not_depend_on_the_batch(self, fitted: Signal) -> None:
        scores = fitted.scores(np.array([3, 0, 7]))
        np.testing.assert_allclose(scores[1:2], fitted.scores(np.array([0])), rtol=1e-5, atol=1e-6)

    def test_fit_repeats_by_seed(self, known: KnownAnswers, fitted: Signal) -> None:
        again = self.new().fit(known.train, known.vectors, seed=5)
        assert_same(again, fitted, known)

    def test_scores_do_not_use_held_out_rows(self, known: KnownAnswers, fitted: Signal) -> None:
        """The train part of a graph with test rows gives the same scores as a graph that never had any."""
        never = GraphSnapshot.from_tables(known.train.to_tables())
        assert_same(self.new().fit(never, known.vectors, seed=5), fitted, known)

    def test_state_round_trip_gives_equal_scores(self, known: KnownAnswers, fitted: Signal) -> None:
        state = fitted.state()
        layouts = fitted.layouts(known.train, known.vectors)
        assert layouts, "a run cannot check the arrays of a signal without layouts"
        check_arrays(state, layouts)
        read = load(save({name: np.ascontiguousarray(array) for name, array in state.items()}))
        assert_same(self.new().restore(known.train, known.vectors, read), fitted, known)

    def test_fold_in_of_the_same_graph_changes_nothing(self, known: KnownAnswers, fitted: Signal) -> None:
        assert_same(fitted.fold_in(GraphDelta(known.train, known.train, known.vectors)), fitted, known)

    def test_fold_in_keeps_settings_and_scores_new_nodes(self, known: KnownAnswers) -> None:
        train = known.train
        user, item = known.user_nums[-1], int(train.interactions.indices[0])
        before = train.with_behaviors((train.behaviors.user_num != user) & (train.behaviors.item_num != item))
        signal = self.new(**(self.settings_of_grid() or [{}])[-1])
        folded = signal.fit(before, known.vectors).fold_in(GraphDelta(before, train, known.vectors))
        assert folded.settings == signal.settings
        assert np.isfinite(folded.scores(np.arange(train.n_users))).all()

    def test_anonymous_users_are_scored_by_their_history(self, known: KnownAnswers, fitted: Signal) -> None:
        some = known.train.behaviors.where(known.train.behaviors.user_num < 3)
        scores = fitted.anonymous_scores(AnonymousUsers(known.train, some, 3))
        if scores is not None:
            assert scores.shape == (3, known.train.n_items)
            assert np.isfinite(scores).all()

    def test_scores_without_interactions_are_finite(self, known: KnownAnswers) -> None:
        behaviors = known.train.behaviors
        train = known.train.with_behaviors((behaviors.user_num > 0) & (behaviors.item_num > 0))
        assert np.isfinite(self.new().fit(train, known.vectors).scores(np.arange(train.n_users))).all()

    def test_every_setting_of_the_grid_fits(self, known: KnownAnswers) -> None:
        limit = MAX_COST * self.signal.cost(self.new().settings, known.train)
        for settings in self.settings_of_grid():
            if self.signal.cost(self.new(**settings).settings, known.train) > limit:
                continue  # settings with more steps are only slower
            scores = self.new(**settings).fit(known.train, known.vectors).scores(np.arange(2))
            assert np.isfinite(scores).all(), settings

    def test_inference_params_need_no_fit(self, known: KnownAnswers, fitted: Signal) -> None:
        for name in self.signal.inference_params & self.signal.grid.keys():
            value = _ends(self.signal, name)[0]
            direct = self.new(**{name: value}).fit(known.train, known.vectors, seed=5)
            restored = self.new(**{name: value}).restore(known.train, known.vectors, fitted.state())
            assert_same(restored, direct, known)

    def test_unfitted_signal_says_so(self) -> None:
        with pytest.raises(NotFittedError, match=f"signal '{self.signal.name}' is not fitted. Call fit"):
            self.new().scores(np.array([0]))
        with pytest.raises(NotFittedError):
            self.new().state()

    def test_applies_and_cost_are_defined(self, known: KnownAnswers) -> None:
        assert self.signal.applies(known.train, known.vectors)
        assert self.signal.cost(self.new().settings, known.train) > 0


def assert_same(one: Signal, other: Signal, known: KnownAnswers) -> None:
    """Check that two signals give equal scores."""
    np.testing.assert_array_equal(one.scores(known.user_nums), other.scores(known.user_nums))


def _ends(kind: type[Signal], name: str) -> list[Any]:
    values = kind.grid[name]
    if not isinstance(values, LogRange):
        return list(values)
    is_integer = isinstance(getattr(kind.Settings(), name), int)
    return [int(end) if is_integer else end for end in (values.low, values.high)]
