"""The state of tuning: what the stages of training read, and what each of them adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.hybrid.blend import GroupedBlend
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels
from kgrec.signals.base import Signals
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import ValidationSet

if TYPE_CHECKING:
    from kgrec.hybrid.second_stage import SecondStage


@dataclass(frozen=True)
class TuningState:
    """What tuning has to work with, and what it has found so far.

    Attributes:
        graph: the graph to learn from, without the validation behaviors.
        vectors: text vectors of `graph`.
        validation: the validation users of each domain, with what they took.
        config: settings.
        budget: limits the search for settings.
        signals: name → signal fitted on `graph` with the settings chosen for it.
        segment_models: signals that replace those for some users.
        blends: domain → blend.
        second: the second stage; None: the blend orders the lists.
        fit_seconds: how long all of `signals` take to fit and to score the validation users.
        report: JSON-ready results of each stage, by subject; see `Trained.choices`.
    """

    graph: GraphSnapshot
    vectors: Vectors
    validation: Sequence[ValidationSet]
    config: Config
    budget: Budget
    signals: Signals = field(default_factory=dict)
    segment_models: SegmentModels = field(default_factory=SegmentModels)
    blends: Mapping[str, GroupedBlend] = field(default_factory=dict)
    second: SecondStage | None = None
    fit_seconds: float = 0.0
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.config.seed

    def fixed(self, signal: str) -> Mapping[str, Any]:
        """Return the settings of a signal that are given, name → value; the others are searched."""
        return self.config.models.get(signal, {})

    @property
    def model(self) -> HybridModel:
        """The model that has been learned so far."""
        return HybridModel(
            self.graph, self.signals, self.blends, segment_models=self.segment_models, second=self.second
        )
