"""From a split to a hybrid model: choose on the validation cut, learn the blend there, then learn from everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from kgrec._util.progress import say
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.noise import without_noise
from kgrec.data.snapshot import Behaviors, GraphSnapshot, Vectors
from kgrec.data.split import Split, by_random
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, blend_seconds
from kgrec.hybrid.cold_start import simulate_cold_start
from kgrec.hybrid.cold_start_signals import cold_start_holdouts, tune_for_cold_start
from kgrec.hybrid.learn_blends import even_blend, learn_blends
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.negative_transfer import check_negative_transfer, several_domains
from kgrec.hybrid.segment_models import SegmentModels
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signals, refit
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import TuningResult, ValidationSet, tune, validation_sets

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
        choices: "signals": signal → settings chosen and tried; "cold_start": the same of those that serve newcomers;
            "blends": domain → how the blend came about; "domains": domain → whether other domains harm it, see
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
    """

    tuning_graph: GraphSnapshot
    held_out: Behaviors
    final_graph: GraphSnapshot


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
    if not len(split.train.behaviors):
        raise UsageError("no behavior to learn from in train; load more data, or use another split")
    if merge_linked_users(split.whole) is not split.whole:
        raise UsageError(
            "linked users were not merged before splitting. "
            "Call kgrec.data.linked_users.merge_linked_users(graph) first, then split"
        )
    watch = Stopwatch()
    sets = training_sets(split, config, fit_on)
    tuning_graph, final_graph = sets.tuning_graph, sets.final_graph
    budget = Budget(config.budget, len(tuning_graph.behaviors))
    with watch.stage("encode"):
        vectors = encode(tuning_graph)
    holdouts = validation_sets(tuning_graph, sets.held_out, config.seed)
    with watch.stage("choose"):
        cold_start_sets = cold_start_holdouts(holdouts)
        tuned = _tune_all(tuning_graph, vectors, holdouts, config, budget, n_searches=2 if cold_start_sets else 1)
        signals = {name: choice.signal for name, choice in tuned.items()}
        tuned_for_cold_start = tune_for_cold_start(signals, tuning_graph, vectors, cold_start_sets, config.seed, budget)
    cold_start = {name: choice.signal for name, choice in tuned_for_cold_start.items()}
    with watch.stage("blend"):
        blends = learn_blends(signals, tuning_graph, holdouts, config.seed, SegmentModels(cold_start=cold_start))
    with watch.stage("check domains"):
        checked = check_negative_transfer(
            signals, tuning_graph, vectors, holdouts, blends, config.seed, budget, tuned, cold_start
        )
    blends |= {domain: c.blend for domain, c in checked.items() if c.blend}
    segment_models = SegmentModels({domain: c.single_domain for domain, c in checked.items() if c.blend}, cold_start)
    second, rerank_report = None, dict[str, Any]()
    if config.rerank and reader:
        from kgrec.hybrid.second_stage import learn_second_stage

        first = HybridModel(tuning_graph, signals, blends, segment_models=segment_models)
        with watch.stage("rerank"):
            second, rerank_report = learn_second_stage(first, holdouts, config.rerank, config.seed, reader)
    if final_graph is not tuning_graph:
        with watch.stage("encode"):
            vectors = encode(final_graph)
        with watch.stage("fit"):
            signals = refit(signals, final_graph, vectors, config.seed)
            segment_models = segment_models.refit(final_graph, vectors, config.seed)
    choices = {
        **_describe(tuned, tuned_for_cold_start, blends),
        "domains": {domain: c.report for domain, c in checked.items()},
    }
    choices |= {"rerank": rerank_report} if rerank_report else {}
    second = second and second.for_graph(final_graph)
    model = HybridModel(final_graph, signals, blends, segment_models=segment_models, second=second)
    return Trained(model, vectors, choices, watch.seconds)


def training_sets(split: Split, config: Config, fit_on: FitOn) -> TrainingSets:
    """Return what the steps of training see: the split's own validation part, or a cut of its train.

    Noise is left out of what is learned from, or counts less, where the settings say so, and stays in what is asked.
    Where some users of one domain are new to another, the cut asks about others as if they were; see
    `simulate_cold_start`.

    Raises:
        UsageError: all that could be learned from is noise.
    """
    if split.is_valid.any():
        sets = TrainingSets(split.train, split.valid, split.train_and_valid if fit_on == "train+valid" else split.train)
    else:
        cut_again = split.cut_again or partial(by_random, seed=config.seed)
        cut = cut_again(split.train, config.valid_fraction)
        sets = TrainingSets(cut.train if cut.is_test.any() else split.train, cut.test, split.train)
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


def _tune_all(
    tuning_graph: GraphSnapshot,
    vectors: Vectors,
    holdouts: list[ValidationSet],
    config: Config,
    budget: Budget,
    n_searches: int,
) -> dict[str, TuningResult]:
    kinds = [kind for kind in signal_kinds(config.signals) if kind.applies(tuning_graph, vectors)]
    if not kinds:
        raise UsageError(f"none of the signals {', '.join(config.signals)} can work with this data; allow more")
    if not holdouts:
        say("too few behaviors for a validation cut: default settings, equal blend")
        return {kind.name: TuningResult(kind().fit(tuning_graph, vectors, config.seed), np.nan, []) for kind in kinds}
    # Each domain is learned from once more by itself, and blended in two more ways, to see whether others harm it.
    times, n_blends = (2, 3) if several_domains(tuning_graph) else (1, 1)
    budget.reserve(n_blends * sum(blend_seconds(len(holdout.user_num), len(kinds)) for holdout in holdouts))
    tuned = {}
    for n_done, kind in enumerate(kinds):
        say(f"choosing settings of {kind.name}")
        search_budget = budget.search_budget(n_searches * len(kinds) - n_done)
        choice = tune(kind, tuning_graph, vectors, holdouts, config.seed, search_budget)
        tuned[kind.name] = choice
        budget.reserve(times * choice.seconds)
    return tuned


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


def signals_of_cut(trained: Trained, sets: TrainingSets, encode: Encode, seed: int) -> tuple[Signals, SegmentModels]:
    """Return the signals that the blends were learned from: the final ones, fitted again where they have seen more."""
    model, tuning_graph = trained.model, sets.tuning_graph
    if sets.final_graph is tuning_graph:
        return model.signals, model.segment_models
    vectors = encode(tuning_graph)
    return refit(model.signals, tuning_graph, vectors, seed), model.segment_models.refit(tuning_graph, vectors, seed)


def _describe(
    tuned: Mapping[str, TuningResult], for_new: Mapping[str, TuningResult], blends: Mapping[str, Blend]
) -> dict[str, Any]:
    signals, new_signals = (
        {
            name: {"settings": c.signal.settings.model_dump(), "ndcg": c.ndcg, "tried": c.tried}
            for name, c in choices.items()
        }
        for choices in (tuned, for_new)
    )
    reports = {domain: blend.report for domain, blend in blends.items()}
    cold_start = {
        f"cold-start users of {domain}": blend.cross_domain.report
        for domain, blend in blends.items()
        if blend.cross_domain
    }
    return {"signals": signals, "cold_start": new_signals, "blends": {**reports, **cold_start}}
