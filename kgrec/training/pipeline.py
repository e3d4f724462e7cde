"""From a split to a hybrid model: choose on the validation cut, learn the blend there, then learn from everything."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from kgrec._util.duration import in_words
from kgrec._util.progress import track
from kgrec.config import Config
from kgrec.data.edges import Behaviors
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.noise import without_noise
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.split import Split, by_random
from kgrec.errors import UsageError
from kgrec.hybrid.cold_start import cold_start_holdouts, simulate_cold_start, tune_for_cold_start
from kgrec.hybrid.learn_blend import blend_seconds
from kgrec.hybrid.learn_blends import even_blend, learn_blends
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.negative_transfer import check_negative_transfer, several_domains
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.ranking import Metric
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signal, refit
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.tuning.budget import Budget
from kgrec.tuning.expected_seconds import expected_seconds
from kgrec.tuning.search import TuningResult, tune
from kgrec.tuning.validation import validation_sets

logger = logging.getLogger(__name__)

FitOn = Literal["train", "train+valid"]
Encode = Callable[[GraphSnapshot], Vectors]


class Stopwatch:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        model: the hybrid.
        vectors: text vectors of the graph it learned from.
        choices: "validation": how interactions were held out; "signals": signal → settings chosen and tried;
            "cold_start": the same of those for cold-start users; "blends": domain → how the blend came about;
            "domains": domain → whether other domains harm it, see
            kgrec/hybrid/negative_transfer.py; "rerank": how the second stage came about.
        seconds: stage → wall seconds.
        tuned: what fine-tuning made of the text model's weights; None where the model was used as it is.
    """

    model: HybridModel
    vectors: Vectors
    choices: Mapping[str, Any]
    seconds: Mapping[str, float]
    tuned: FineTunedWeights | None = None


@dataclass(frozen=True)
class TrainingSets:
    """What the steps of training may see of a split.

    Attributes:
        tuning_graph: the graph with which settings are chosen and the blend is learned.
        held_out: the validation behaviors, which `tuning_graph` lacks.
        final_graph: the graph that the final signals learn from; `tuning_graph` itself where the two are the same.
        protocol: how the validation behaviors were held out, in words.
    """

    tuning_graph: GraphSnapshot
    held_out: Behaviors
    final_graph: GraphSnapshot
    protocol: str


Stage = Callable[[TuningState], TuningState]
"""A stage of training: returns the state with its own results added."""


def train(
    split: Split, config: Config, encode: Encode, fit_on: FitOn, reader: TransformersEncoder | None = None
) -> Trained:
    """Train on a split; its test behaviors are never looked at.

    Settings and blend are chosen on the split's valid part, or where that is empty, on a cut of train made as test was.

    Args:
        split: the graph, cut.
        config: settings.
        encode: makes text vectors from a train snapshot.
        fit_on: what the final signals learn from; a cut that training made itself always goes back in.
        reader: the text model of the second stage, where settings ask for one.

    Raises:
        UsageError: there is no behavior to learn from, or linked users are not one; see kgrec/data/linked_users.py.
    """
    _check(split)
    watch, sets = Stopwatch(), training_sets(split, config, fit_on)
    state = _start(sets, config, encode, watch)
    for name, stage in _stages(config, reader):
        with watch.stage(name):
            state = stage(state)
    trained = Trained(state.model, state.vectors, _choices(state), watch.seconds)
    if sets.final_graph is sets.tuning_graph:
        return trained
    with watch.stage("encode"):
        vectors = encode(sets.final_graph)
    again = refit_model(trained, sets.final_graph, vectors, config.seed)
    return replace(again, seconds={**watch.seconds, **again.seconds})


def _check(split: Split) -> None:
    if not len(split.train.behaviors):
        raise UsageError("no behavior to learn from in train; load more data, or use another split")
    if merge_linked_users(split.whole) is not split.whole:
        raise UsageError(
            "linked users were not merged before splitting. "
            "Call kgrec.data.linked_users.merge_linked_users(graph) first, then split"
        )


def _start(sets: TrainingSets, config: Config, encode: Encode, watch: Stopwatch) -> TuningState:
    budget = Budget(config.budget, len(sets.tuning_graph.behaviors))
    with watch.stage("encode"):
        vectors = encode(sets.tuning_graph)
    holdouts = validation_sets(sets.tuning_graph, sets.held_out, config.seed, Metric.parse(config.metric))
    state = TuningState(sets.tuning_graph, vectors, holdouts, config, budget)
    return replace(state, report={"validation": {"protocol": sets.protocol, "interactions": len(sets.held_out)}})


def _stages(config: Config, reader: TransformersEncoder | None) -> list[tuple[str, Stage]]:
    """Return the stages of training in their order, each with the name that its seconds are summed under."""
    stages: list[tuple[str, Stage]] = [
        ("choose", _tune_all),
        ("choose", tune_for_cold_start),
        ("blend", _blend),
        ("check domains", check_negative_transfer),
    ]
    if config.rerank and reader:
        from kgrec.training.second_stage import learn_second_stage

        stages.append(("rerank", partial(learn_second_stage, encoder=reader)))
    return stages


def _blend(state: TuningState) -> TuningState:
    return replace(state, blends=learn_blends(state))


def training_sets(split: Split, config: Config, fit_on: FitOn) -> TrainingSets:
    """Return what the steps of training see: the split's own validation part, or a cut of its train.

    Noise is left out of what is learned from, or counts less, where the settings say so, and stays in what is asked.
    Where some users of one domain are new to another, the cut asks about others as if they were; see
    `simulate_cold_start`.

    Raises:
        UsageError: all that could be learned from is noise.
    """
    if split.is_valid.any():
        final_graph = split.train_and_valid if fit_on == "train+valid" else split.train
        sets = TrainingSets(split.train, split.valid, final_graph, "the validation part of the data")
    else:
        cut_again = split.cut_again or partial(by_random, seed=config.seed)
        cut = cut_again(split.train, config.valid_fraction)
        sets = TrainingSets(cut.train if cut.is_test.any() else split.train, cut.test, split.train, cut.protocol)
    cleaned = partial(without_noise, how=config.noise)
    tuning_graph = cleaned(sets.tuning_graph)
    if not len(tuning_graph.behaviors):
        raise UsageError(
            f"noise={config.noise} leaves nothing to learn from; see kgrec audit data GRAPH, or set noise=keep"
        )
    sets = replace(
        sets,
        tuning_graph=tuning_graph,
        final_graph=tuning_graph if sets.final_graph is sets.tuning_graph else cleaned(sets.final_graph),
    )
    new = simulate_cold_start(sets.tuning_graph, config.seed)
    if not new.any():
        return sets
    held_out = sets.held_out.and_also(sets.tuning_graph.behaviors.where(new))
    return replace(sets, tuning_graph=sets.tuning_graph.with_behaviors(~new), held_out=held_out)


def _tune_all(state: TuningState) -> TuningState:
    """Choose the settings of every signal that can work with the data; defaults where nothing was held out."""
    wanted = state.config.signals
    kinds = [kind for kind in signal_kinds(wanted) if kind.applies(state.graph, state.vectors)]
    if not kinds:
        raise UsageError(f"none of the signals {', '.join(wanted)} can work with this data; allow more")
    if state.validation:
        tuned = _searched(kinds, state)
    else:
        logger.info("too few behaviors for a validation cut: default settings, equal blend")
        fitted = [
            kind(kind.Settings(**state.fixed(kind.name))).fit(state.graph, state.vectors, state.seed) for kind in kinds
        ]
        tuned = {signal.name: TuningResult(signal, np.nan, []) for signal in fitted}
    return replace(
        state,
        signals={name: choice.signal for name, choice in tuned.items()},
        fit_seconds=sum(choice.seconds for choice in tuned.values()),
        report={**state.report, "signals": {name: choice.report for name, choice in tuned.items()}},
    )


def _searched(kinds: Sequence[type[Signal]], state: TuningState) -> dict[str, TuningResult]:
    # Each domain is learned from once more by itself, and blended in two more ways, to see whether others harm it.
    times, n_blends = (2, 3) if several_domains(state.graph) else (1, 1)
    n_searches = 2 if cold_start_holdouts(state.validation) else 1
    state.budget.reserve(
        n_blends * sum(blend_seconds(len(holdout.user_num), len(kinds)) for holdout in state.validation)
    )
    tuned = {}
    for n_done, kind in enumerate(track(kinds, "choosing settings", costs=_expected(kinds, state, n_searches))):
        logger.info(f"choosing settings of {kind.name}")
        search_budget = state.budget.search_budget(n_searches * len(kinds) - n_done)
        tuned[kind.name] = tune(
            kind, state.graph, state.vectors, state.validation, state.seed, search_budget, state.fixed(kind.name)
        )
        state.budget.reserve(times * tuned[kind.name].seconds)
    return tuned


def _expected(kinds: Sequence[type[Signal]], state: TuningState, n_searches: int) -> list[float]:
    """Return about how many seconds each search takes, and say how long all of them do."""
    seconds = expected_seconds(kinds, state.graph, state.budget.search_budget(n_searches * len(kinds)))
    n = f"{len(state.graph.behaviors):,}"
    logger.info(f"choosing settings of {len(kinds)} signals on {n} interactions, about {in_words(sum(seconds))}")
    return seconds


def refit_model(trained: Trained, train: GraphSnapshot, vectors: Vectors, seed: int) -> Trained:
    """Return a model that learned from `train` with the settings and the blends of another; nothing is chosen.

    Args:
        trained: the other.
        train: what to learn from.
        vectors: text vectors of `train`.
        seed: makes the result repeat.
    """
    watch, model = Stopwatch(), trained.model
    with watch.stage("fit"):
        signals = refit(model.signals, train, vectors, seed)
        segment_models = model.segment_models.refit(train, vectors, seed)
    blends = {domain: even_blend(list(signals)) for domain in sorted(set(train.item_domains) - set(model.blends))}
    second = model.second and model.second.for_graph(train)
    again = HybridModel(train, signals, {**model.blends, **blends}, segment_models=segment_models, second=second)
    return replace(trained, model=again, vectors=vectors, seconds=watch.seconds)


def state_of_cut(trained: Trained, sets: TrainingSets, config: Config, encode: Encode) -> TuningState:
    """Return the state that the blends were learned in: the final signals, fitted again where they have seen more."""
    model, tuning_graph = trained.model, sets.tuning_graph
    holdouts, budget = (
        validation_sets(tuning_graph, sets.held_out, config.seed, Metric.parse(config.metric)),
        Budget(config.budget, len(tuning_graph.behaviors)),
    )
    state = TuningState(tuning_graph, trained.vectors, holdouts, config, budget, model.signals, model.segment_models)
    if sets.final_graph is tuning_graph:
        return state
    vectors = encode(tuning_graph)
    signals = refit(model.signals, tuning_graph, vectors, config.seed)
    segment_models = model.segment_models.refit(tuning_graph, vectors, config.seed)
    return replace(state, vectors=vectors, signals=signals, segment_models=segment_models)


def _choices(state: TuningState) -> dict[str, Any]:
    """Return what the stages reported, with how the blends came about; see `Trained.choices`."""
    blends = {domain: blend.default.report for domain, blend in state.blends.items()}
    blends |= {
        f"cold-start users of {d}": blend.cold_start.report for d, blend in state.blends.items() if blend.cold_start
    }
    return {**state.report, "blends": blends, "metric": state.config.metric}
