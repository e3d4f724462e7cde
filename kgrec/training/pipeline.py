"""Training pipeline: tune signals and learn blends on the validation split, then refit on all training data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np

from kgrec._util.duration import in_words
from kgrec._util.progress import track
from kgrec.config import Config, signal_name
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
from kgrec.hybrid.new_users import simulate_new_users
from kgrec.hybrid.race import race
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.ranking import Metric
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signal, fit_fresh, refit
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.tuning.budget import Budget, search_shares
from kgrec.tuning.expected_seconds import expected_seconds
from kgrec.tuning.search import Trial, TuningResult, tune_further
from kgrec.tuning.validation import validation_sets

logger = logging.getLogger(__name__)

FitOn = Literal["train", "train+valid"]
Encode = Callable[[GraphSnapshot], Vectors]


class Stopwatch:
    """Wall and CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
        self.cpu_seconds[name] = round(self.cpu_seconds.get(name, 0.0) + time.process_time() - cpu, 3)


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        model: the hybrid.
        vectors: text vectors of the training graph.
        choices: "validation": the validation split; "signals": signal → settings chosen and tried; "race": what each
            signal brings to the blend; "skipped": signal → why it was not fitted or tuned, and "text model" → why it
            was not used; "text_model": name and reason of a text model that the settings do not name;
            "static_text": true if texts are means of token vectors;
            "cold_start": as "signals", for those tuned on cold-start users; "blends": domain → `Blend.report`;
            "domains": domain → result of the check in kgrec/hybrid/negative_transfer.py; "rerank": see
            `learn_second_stage`; "metric": the metric of all choices; "cpu_seconds": stage → CPU seconds.
        seconds: stage → wall seconds.
        tuned: fine-tuned weights of the text model; None without fine-tuning.
    """

    model: HybridModel
    vectors: Vectors
    choices: Mapping[str, Any]
    seconds: Mapping[str, float]
    tuned: FineTunedWeights | None = None


@dataclass(frozen=True)
class TrainingSets:
    """The parts of a split that the stages of training may read.

    Attributes:
        tuning_graph: the graph that signals are fitted on to choose settings and learn blends.
        held_out: the validation interactions, which are not in `tuning_graph`.
        final_graph: the graph that the final signals are fitted on; `tuning_graph` itself if both are the same.
        protocol: description of how the validation interactions were held out.
    """

    tuning_graph: GraphSnapshot
    held_out: Behaviors
    final_graph: GraphSnapshot
    protocol: str


_FITS_OF_A_SIGNAL: Final = 2.5
"""Duration of everything that a signal adds to a fit with default settings, relative to fitting it once."""

_NO_SEARCH: Final = (
    "with the effort fast no setting is tried, no signal is raced and no domain is checked by itself; the effort "
    "balanced does so, takes longer and usually ranks better"
)

Stage = Callable[[TuningState], TuningState]
"""A stage of training, which returns the state with its results added."""


def train(
    split: Split, config: Config, encode: Encode, fit_on: FitOn, reader: TransformersEncoder | None = None
) -> Trained:
    """Return the model trained on a split; test interactions are never read.

    Settings and blends are chosen on the split's validation part. If it is empty, a validation split of train is made
    by the protocol of the test split.

    Args:
        split: train, validation and test interactions of a graph.
        config: settings.
        encode: returns the text vectors of a snapshot.
        fit_on: the interactions that the final signals are fitted on; a validation split made here is always included.
        reader: the text model of the second stage; None without re-ranking.

    Raises:
        UsageError: train has no interactions, or linked users are not merged; see kgrec/data/linked_users.py.
    """
    _check(split)
    watch, sets = Stopwatch(), training_sets(split, config, fit_on)
    state = _start(sets, config, encode, watch)
    for name, stage in _stages(config, reader):
        with watch.stage(name):
            state = stage(state)
    choices = {**_choices(state), "cpu_seconds": watch.cpu_seconds}
    trained = Trained(state.model, state.vectors, choices, watch.seconds)
    if sets.final_graph is sets.tuning_graph:
        return trained
    with watch.stage("encode"):
        vectors = encode(sets.final_graph)
    again = refit_model(trained, sets.final_graph, vectors, config.seed)
    cpu_seconds = {**watch.cpu_seconds, **again.choices["cpu_seconds"]}
    return replace(
        again, seconds={**watch.seconds, **again.seconds}, choices={**again.choices, "cpu_seconds": cpu_seconds}
    )


def _check(split: Split) -> None:
    if not len(split.train.behaviors):
        raise UsageError("no interaction to learn from in train. Load more data, or use another split")
    if merge_linked_users(split.graph) is not split.graph:
        raise UsageError(
            "linked users were not merged before splitting. "
            "Call kgrec.data.linked_users.merge_linked_users(graph) first, then split"
        )


def _start(sets: TrainingSets, config: Config, encode: Encode, watch: Stopwatch) -> TuningState:
    budget = Budget(config.budget, len(sets.tuning_graph.behaviors), config.effort)
    with watch.stage("encode"):
        vectors = encode(sets.tuning_graph)
    asked = partial(validation_sets, sets.tuning_graph, sets.held_out, config.seed, Metric.parse(config.metric))
    state = TuningState(sets.tuning_graph, vectors, asked(), config, budget, asked(new_users=True))
    return replace(state, report={"validation": {"protocol": sets.protocol, "interactions": len(sets.held_out)}})


def _stages(config: Config, reader: TransformersEncoder | None) -> list[tuple[str, Stage]]:
    """Return the stages of training in order, each with the name under which its seconds are reported."""
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
    """Return the graphs and validation interactions of a split; without a validation part, one is split off train.

    By the setting `noise`, noisy interactions are dropped or down-weighted in the training graphs, never in validation.
    If a domain has cold-start users, the validation interactions include simulated ones; see `simulate_cold_start`. If
    users are described, some of them are withheld with all their interactions; see `simulate_new_users`.

    Raises:
        UsageError: all training interactions are noise.
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
            f"noise={config.noise} leaves no interaction to learn from. See kgrec audit data GRAPH, or set noise=keep"
        )
    sets = replace(
        sets,
        tuning_graph=tuning_graph,
        final_graph=tuning_graph if sets.final_graph is sets.tuning_graph else cleaned(sets.final_graph),
    )
    new = simulate_cold_start(sets.tuning_graph, config.seed) | simulate_new_users(sets.tuning_graph, config.seed)
    if not new.any():
        return sets
    held_out = sets.held_out.and_also(sets.tuning_graph.behaviors.where(new))
    return replace(sets, tuning_graph=sets.tuning_graph.with_behaviors(~new), held_out=held_out)


def _tune_all(state: TuningState) -> TuningState:
    """Fit every signal that the data support, measure what the blend needs, and tune the signals."""
    wanted = state.config.signals
    kinds = [kind for kind in signal_kinds(wanted) if kind.applies(state.graph, state.vectors)]
    if not kinds:
        names = ", ".join(map(signal_name, wanted))
        raise UsageError(f"no signal can be fitted on this data: {names}. Expected others in `signals` too")
    if state.validation:
        return _searched(_raced(_fit_first(kinds, state)))
    logger.info("too few interactions for a validation split: using default settings and an equal blend")
    fitted = [
        kind(kind.Settings(**state.fixed(kind.name))).fit(state.graph, state.vectors, state.seed) for kind in kinds
    ]
    return state.with_tuned({signal.name: TuningResult(signal, np.nan, []) for signal in fitted})


def _fit_first(kinds: Sequence[type[Signal]], state: TuningState) -> TuningState:
    """Fit every signal with its default settings; with a time limit, only those that leave time for the blend."""
    costs = [kind.cost(kind.Settings(**state.fixed(kind.name)), state.graph) for kind in kinds]
    logger.info(
        f"fitting {len(kinds)} signals on {len(state.graph.behaviors):,} interactions, about {in_words(sum(costs))}"
    )
    first, skipped = dict[str, TuningResult](), dict[str, str]()
    for kind, cost in zip(track(kinds, "fitting signals", costs=costs), costs, strict=True):
        if first and not state.budget.leaves(_FITS_OF_A_SIGNAL * cost):
            skipped[kind.name] = f"a fit takes about {in_words(cost)}, too long for the budget"
            logger.warning(f"left out {kind.name}: {skipped[kind.name]}")
            continue
        logger.info(f"fitting {kind.name}")
        trial = _trial(kind, state)
        first[kind.name] = trial(kind.Settings(**state.fixed(kind.name)))
    report = {**state.report, **({"skipped": skipped} if skipped else {})}
    return replace(state, report=report).with_tuned(first)


def _raced(state: TuningState) -> TuningState:
    """Measure what each signal brings to the blends, which decides how much time the search of a signal gets.

    The effort "fast" searches nothing, and "best" gives every signal the same time: both need no race.
    """
    if state.config.effort != "balanced":
        return state
    raced = race(state.signals, state.validation, state.graph, state.seed)
    return replace(state, worth=raced.worth, report={**state.report, "race": {"groups": raced.report}})


def _searched(state: TuningState) -> TuningState:
    """Tune each signal; an interrupt ends the search and keeps what was found. The effort "fast" tunes none."""
    if state.config.effort == "fast":
        return _skipping(state, {"search": _NO_SEARCH})
    # The negative-transfer check fits each domain by itself once and learns at most one more blend.
    times, n_blends = (2, 2) if several_domains(state.graph) else (1, 1)
    n_searches, tuned, budget = 2 if cold_start_holdouts(state.validation) else 1, dict(state.tuned), state.budget
    budget.reserve(n_blends * sum(blend_seconds(len(holdout.user_num), len(tuned)) for holdout in state.validation))
    budget.reserve(times * sum(result.seconds for result in tuned.values()))
    shares = search_shares(list(tuned), state.worth)
    kinds = [type(result.signal) for result in tuned.values()]
    limits = [budget.search_budget(share / n_searches) for share in shares.values()]
    costs = [expected_seconds(kind, state.graph, limit) for kind, limit in zip(kinds, limits, strict=True)]
    logger.info(f"tuning {len(kinds)} signals, about {in_words(sum(costs))}")
    waiting = list(tuned)
    try:
        for kind in track(kinds, "tuning signals", costs=costs):
            logger.info(f"tuning {kind.name}")
            limit, before = budget.search_budget(shares[kind.name] / n_searches), tuned[kind.name]
            tuned[kind.name] = tune_further(before, _trial(kind, state), limit, state.fixed(kind.name))
            waiting.remove(kind.name)
            budget.settle(limit)
            budget.reserve(times * (tuned[kind.name].seconds - before.seconds))
    except KeyboardInterrupt:
        logger.warning("interrupted: the search ends here, and the model is made of what it found. Once more to quit")
        state = _skipping(state, dict.fromkeys(waiting, "has default settings: its search was interrupted"))
    return state.with_tuned(tuned)


def _skipping(state: TuningState, reasons: Mapping[str, str]) -> TuningState:
    """Return the state with more that was skipped in its report."""
    return replace(state, report={**state.report, "skipped": {**state.report.get("skipped", {}), **reasons}})


def _trial(kind: type[Signal], state: TuningState) -> Trial:
    return Trial(kind, state.graph, state.vectors, state.search_sets, state.seed)


def refit_model(trained: Trained, train: GraphSnapshot, vectors: Vectors, seed: int) -> Trained:
    """Return a model fitted on `train` with the settings and blends of another; nothing is tuned.

    Args:
        trained: the model with the settings and blends.
        train: the training graph.
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
    choices = {**trained.choices, "cpu_seconds": watch.cpu_seconds}
    return replace(trained, model=again, vectors=vectors, choices=choices, seconds=watch.seconds)


def state_of_cut(trained: Trained, sets: TrainingSets, config: Config, encode: Encode) -> TuningState:
    """Return the tuning state that the blends were learned in; final signals fitted on more data are refitted."""
    model, tuning_graph = trained.model, sets.tuning_graph
    asked = partial(validation_sets, tuning_graph, sets.held_out, config.seed, Metric.parse(config.metric))
    state = TuningState(
        tuning_graph,
        trained.vectors,
        asked(),
        config,
        Budget(config.budget, len(tuning_graph.behaviors), config.effort),
        asked(new_users=True),
        signals=model.signals,
        segment_models=model.segment_models,
    )
    if sets.final_graph is tuning_graph:
        return state
    vectors = encode(tuning_graph)
    signals = fit_fresh(model.signals, tuning_graph, vectors, config.seed)
    segment_models = model.segment_models.refit(tuning_graph, vectors, config.seed)
    return replace(state, vectors=vectors, signals=signals, segment_models=segment_models)


def _choices(state: TuningState) -> dict[str, Any]:
    """Return the reports of the stages and of the blends; see `Trained.choices`."""
    blends = {domain: blend.default.report for domain, blend in state.blends.items()}
    blends |= {
        f"cold-start users of {d}": blend.cold_start.report for d, blend in state.blends.items() if blend.cold_start
    }
    blends |= {f"new users of {d}": blend.new_users.report for d, blend in state.blends.items() if blend.new_users}
    return {**state.report, "blends": blends, "metric": state.config.metric}
