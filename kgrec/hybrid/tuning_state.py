"""TuningState: the inputs of the stages of training, and the results that each stage adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kgrec._util.types import FloatArray
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.hybrid.blend import GroupedBlend
from kgrec.hybrid.learn_blend import FEW_BLEND_USERS, MAX_BLEND_USERS, users_to_learn_from
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels, scores_of
from kgrec.signals.base import Signals
from kgrec.tuning.budget import Budget
from kgrec.tuning.search import TuningResult
from kgrec.tuning.validation import ValidationSet

if TYPE_CHECKING:
    from kgrec.hybrid.second_stage import SecondStage


@dataclass(frozen=True)
class TuningState:
    """The inputs of tuning and its results so far.

    Attributes:
        graph: the training graph, without the validation interactions.
        vectors: text vectors of `graph`.
        validation: the validation set of each domain.
        config: settings.
        budget: limit of the hyper-parameter search.
        new_users: the validation set of each domain with the users that have no behavior in `graph`.
        tuned: name → signal fitted on `graph` with its chosen settings, and all settings tried.
        signals: the signals of `tuned`.
        worth: signal → gain that it brings to the blend with its default settings; empty if that was not measured.
        segment_models: signals that replace others for some users.
        blends: domain → blend.
        second: the second stage; None without re-ranking.
        fit_seconds: duration of fitting all `signals` and scoring the validation users.
        report: JSON-ready results of each stage, by subject; see `Trained.choices`.
    """

    graph: GraphSnapshot
    vectors: Vectors
    validation: Sequence[ValidationSet]
    config: Config
    budget: Budget
    new_users: Sequence[ValidationSet] = ()
    tuned: Mapping[str, TuningResult] = field(default_factory=dict)
    signals: Signals = field(default_factory=dict)
    worth: Mapping[str, float] = field(default_factory=dict)
    segment_models: SegmentModels = field(default_factory=SegmentModels)
    blends: Mapping[str, GroupedBlend] = field(default_factory=dict)
    second: SecondStage | None = None
    fit_seconds: float = 0.0
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.config.seed

    @property
    def search_sets(self) -> Sequence[ValidationSet]:
        """The validation sets that settings are compared on: a sample of the users, with the effort "best" all."""
        return self.validation if self.config.effort == "best" else list(map(self.sample, self.validation))

    def sample(self, holdout: ValidationSet) -> ValidationSet:
        """Return a sample of the users of a validation set to learn from; a small one with the effort "fast"."""
        most = FEW_BLEND_USERS if self.config.effort == "fast" else MAX_BLEND_USERS
        return holdout.take(users_to_learn_from(holdout.seen, holdout.relevant, self.seed, most))

    def scores(self, holdout: ValidationSet) -> list[FloatArray]:
        """Return the scores of each signal for a validation set, float32 [n, m], with those of segment models."""
        parts = [holdout.scores(signal.scores) for signal in self.signals.values()]
        scores, seen, items = scores_of(holdout.user_num), holdout.seen, holdout.item_num
        self.segment_models.apply_to(holdout.domain, list(self.signals), parts, scores, seen, items)
        return parts

    def fixed(self, signal: str) -> Mapping[str, Any]:
        """Return the fixed settings of a signal, name → value; the others are searched."""
        return self.config.models.get(signal, {})

    def with_tuned(self, tuned: Mapping[str, TuningResult]) -> TuningState:
        """Return the state with other results of tuning."""
        return replace(
            self,
            tuned=tuned,
            signals={name: result.signal for name, result in tuned.items()},
            fit_seconds=sum(result.seconds for result in tuned.values()),
            report={**self.report, "signals": {name: result.report for name, result in tuned.items()}},
        )

    @property
    def model(self) -> HybridModel:
        """The model learned so far."""
        return HybridModel(
            self.graph, self.signals, self.blends, segment_models=self.segment_models, second=self.second
        )
