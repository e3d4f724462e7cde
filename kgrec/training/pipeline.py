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
from kgrec.data.linked_users import as_one
from kgrec.data.noise import without_noise
from kgrec.data.snapshot import Behaviours, GraphSnapshot, Vectors
from kgrec.data.split import Split, by_random
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, blend_seconds
from kgrec.hybrid.cold_start import as_newcomers
from kgrec.hybrid.cold_start_signals import asked_as_newcomers, choose_for_newcomers
from kgrec.hybrid.learn_blends import even_blend, learn_blends
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.negative_transfer import check_domains, several_domains
from kgrec.hybrid.segment_models import Standins
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signals, refit
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.tuned_weights import Tuned
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import Choice, Questions, choose, questions

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
        vectors: text vectors of the graph it learnt from.
        choices: "signals": signal → settings chosen and tried; "newcomers": the same of those that serve newcomers;
            "blends": domain → how the blend came about; "domains": domain → whether other domains harm it, see
            kgrec/hybrid/negative_transfer.py; "rerank": how the second stage came about.
        seconds: stage → wall seconds.
        tuned: what fine-tuning made of the text model's weights; None where the model was used as it is.
    """

    model: HybridModel
    vectors: Vectors
    choices: Mapping[str, Any]
    seconds: Mapping[str, float]
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Parts:
    """What the steps of training may see of a split.

    Attributes:
        inner: the graph with which settings are chosen and the blend is learnt.
        held_out: the validation behaviours, which `inner` lacks.
        final: the graph that the final signals learn from; `inner` itself where the two are the same.
    """

    inner: GraphSnapshot
    held_out: Behaviours
    final: GraphSnapshot


def train(
    split: Split, config: Config, encode: Encode, fit_on: FitOn, reader: TransformersEncoder | None = None
) -> Trained:
    """Train on a split; its test behaviours are never looked at.

    Settings and blend are chosen on the split's valid part, or where that is empty, on a cut of train made as test was.

    Args:
        split: the graph, cut.
        config: settings.
        encode: makes text vectors from a train snapshot.
        fit_on: what the final signals learn from; a cut that training made itself always goes back in.
        reader: the text model of the second stage, where settings ask for one.

    Raises:
        UsageError: there is no behaviour to learn from, or linked users are not one; see kgrec/data/linked_users.py.
    """
    if not len(split.train.behaviours):
        raise UsageError("no behaviour to learn from in train; load more data, or use another split")
    if as_one(split.whole) is not split.whole:
        raise UsageError(
            "found a cut in which linked users still act apart; expected one of kgrec.data.linked_users.as_one(graph)"
        )
    watch = Stopwatch()
    parts = parts_of(split, config, fit_on)
    inner, final = parts.inner, parts.final
    budget = Budget(config.budget, len(inner.behaviours))
    with watch.stage("encode"):
        vectors = encode(inner)
    asked = questions(inner, parts.held_out, config.seed)
    with watch.stage("choose"):
        as_new = asked_as_newcomers(asked)
        chosen = _choose_all(inner, vectors, asked, config, budget, n_searches=2 if as_new else 1)
        signals = {name: choice.signal for name, choice in chosen.items()}
        chosen_for_new = choose_for_newcomers(signals, inner, vectors, as_new, config.seed, budget)
    newcomers = {name: choice.signal for name, choice in chosen_for_new.items()}
    with watch.stage("blend"):
        blends = learn_blends(signals, inner, asked, config.seed, Standins(newcomers=newcomers))
    with watch.stage("check domains"):
        checked = check_domains(signals, inner, vectors, asked, blends, config.seed, budget, chosen, newcomers)
    blends |= {domain: c.blend for domain, c in checked.items() if c.blend}
    standins = Standins({domain: c.alone for domain, c in checked.items() if c.blend}, newcomers)
    second, found = None, dict[str, Any]()
    if config.rerank and reader:
        from kgrec.hybrid.second_stage import learn_second_stage

        first = HybridModel(inner, signals, blends, standins=standins)
        with watch.stage("rerank"):
            second, found = learn_second_stage(first, asked, config.rerank, config.seed, reader)
    if final is not inner:
        with watch.stage("encode"):
            vectors = encode(final)
        with watch.stage("fit"):
            signals = refit(signals, final, vectors, config.seed)
            standins = standins.refit(final, vectors, config.seed)
    choices = {
        **_describe(chosen, chosen_for_new, blends),
        "domains": {domain: c.report for domain, c in checked.items()},
    }
    choices |= {"rerank": found} if found else {}
    second = second and second.of(final)
    model = HybridModel(final, signals, blends, standins=standins, second=second)
    return Trained(model, vectors, choices, watch.seconds)


def parts_of(split: Split, config: Config, fit_on: FitOn) -> Parts:
    """Return what the steps of training see: the split's own validation part, or a cut of its train; see `Parts`.

    Noise is left out of what is learnt from, all or half, where the settings say so, and stays in what is asked. Where
    some users of one domain are new to another, the cut asks about others as if they were; see `as_newcomers`.

    Raises:
        UsageError: all that could be learnt from is noise.
    """
    if split.is_valid.any():
        parts = Parts(split.train, split.valid, split.train_and_valid if fit_on == "train+valid" else split.train)
    else:
        cut_again = split.cut_again or partial(by_random, seed=config.seed)
        cut = cut_again(split.train, config.valid_fraction)
        parts = Parts(cut.train if cut.is_test.any() else split.train, cut.test, split.train)
    cleaned = partial(without_noise, how=config.noise, seed=config.seed)
    inner = cleaned(parts.inner)
    if not len(inner.behaviours):
        raise UsageError(
            f"noise={config.noise} leaves nothing to learn from; see kgrec check GRAPH --noise, or set noise=keep"
        )
    parts = replace(parts, inner=inner, final=inner if parts.final is parts.inner else cleaned(parts.final))
    new = as_newcomers(parts.inner, config.seed)
    if not new.any():
        return parts
    held_out = parts.held_out.and_also(parts.inner.behaviours.where(new))
    return replace(parts, inner=parts.inner.with_behaviours(~new), held_out=held_out)


def _choose_all(
    inner: GraphSnapshot, vectors: Vectors, asked: list[Questions], config: Config, budget: Budget, n_searches: int
) -> dict[str, Choice]:
    kinds = [kind for kind in signal_kinds(config.signals) if kind.applies(inner, vectors)]
    if not kinds:
        raise UsageError(f"none of the signals {', '.join(config.signals)} can work with this data; allow more")
    if not asked:
        say("too few behaviours for a validation cut: default settings, equal blend")
        return {kind.name: Choice(kind().fit(inner, vectors, config.seed), np.nan, []) for kind in kinds}
    # Each domain is learnt from once more by itself, and blended in two more ways, to see whether others harm it.
    times, n_blends = (2, 3) if several_domains(inner) else (1, 1)
    budget.reserve(n_blends * sum(blend_seconds(len(q.user_num), len(kinds)) for q in asked))
    chosen = {}
    for n_done, kind in enumerate(kinds):
        say(f"choosing settings of {kind.name}")
        allowance = budget.allowance(n_searches * len(kinds) - n_done)
        choice = choose(kind, inner, vectors, asked, config.seed, allowance)
        chosen[kind.name] = choice
        budget.reserve(times * choice.seconds)
    return chosen


def refit_model(trained: Trained, train: GraphSnapshot, vectors: Vectors, seed: int) -> Trained:
    """Return a model that learnt from `train` with the settings and the blends of another; nothing is chosen.

    Args:
        trained: the other.
        train: what to learn from.
        vectors: text vectors of `train`.
        seed: makes the result repeat.
    """
    watch, model = Stopwatch(), trained.model
    with watch.stage("fit"):
        signals = refit(model.signals, train, vectors, seed)
        standins = model.standins.refit(train, vectors, seed)
    blends = {domain: even_blend(list(signals)) for domain in sorted(set(train.item_domains) - set(model.blends))}
    second = model.second and model.second.of(train)
    again = HybridModel(train, signals, {**model.blends, **blends}, standins=standins, second=second)
    return replace(trained, model=again, vectors=vectors, seconds=watch.seconds)


def signals_of_cut(trained: Trained, parts: Parts, encode: Encode, seed: int) -> tuple[Signals, Standins]:
    """Return the signals that the blends were learnt from: the final ones, fitted again where they have seen more."""
    model, inner = trained.model, parts.inner
    if parts.final is inner:
        return model.signals, model.standins
    vectors = encode(inner)
    return refit(model.signals, inner, vectors, seed), model.standins.refit(inner, vectors, seed)


def _describe(
    chosen: Mapping[str, Choice], for_new: Mapping[str, Choice], blends: Mapping[str, Blend]
) -> dict[str, Any]:
    signals, new_signals = (
        {
            name: {"settings": c.signal.settings.model_dump(), "ndcg": c.ndcg, "tried": c.tried}
            for name, c in choices.items()
        }
        for choices in (chosen, for_new)
    )
    reports = {domain: blend.report for domain, blend in blends.items()}
    newcomers = {
        f"newcomers to {domain}": blend.newcomers.report for domain, blend in blends.items() if blend.newcomers
    }
    return {"signals": signals, "newcomers": new_signals, "blends": {**reports, **newcomers}}
