"""What each signal is worth to the blend, on every data set.

    python benchmarks/ablation.py DATA [--only NAMES] [--seeds 3]

DATA is a folder with one folder of atomic files for each data set below; one that is missing is passed over. For each
seed every signal that applies is fitted once, with default settings; then blend weights are learned with all of them
and without each, by maximum likelihood, and measured on the test users, a sample of MAX_USERS at most. Worth is the
difference in a user's NDCG@20, averaged over the seeds, with its 95 % interval by bootstrap over the users. Without
the knowledge graph, all signals are fitted anew.

What a seed found is kept in build/ablation, and is not computed again as long as it is there. Writes
benchmarks/results/ablation.json, where a data set that was not run keeps its entry.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import scipy.sparse as sp
from accuracy import RESULTS, ROOT

from kgrec._util.types import FloatArray, IntArray
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.hybrid.blend import Blend, GroupedBlend, is_cold_start
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, Scale
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS, users_to_learn_from
from kgrec.hybrid.listwise_softmax import ListwiseSoftmax
from kgrec.hybrid.model import HybridModel, Scored
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.metrics.ranking import NDCG_AT_20
from kgrec.metrics.significance import paired_test
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signals, refit
from kgrec.store.load import load
from kgrec.text import VectorCache, default_encoder, text_vectors
from kgrec.training.pipeline import FitOn, training_sets
from kgrec.tuning.validation import ValidationSet, validation_sets

FIT_ON: Mapping[str, FitOn] = {
    **accuracy.FIT_ON,
    "tiktok": "train",
    "prescriptions": "train",
    "douban-book-social": "train",
    "cloth-sport": "train",
}
EVERYTHING, ALL_TEXT, KNOWLEDGE = "everything", "all text", "knowledge graph"
OF_TEXT = frozenset({"embeddings", "tfidf"})
MAX_USERS, BATCH_USERS = 5_000, 500

Values = dict[str, FloatArray]
"""What was taken away → NDCG@20 of every question (a test user in a domain), float32 [n]."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(FIT_ON), help="names of data sets, with commas")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        if (arguments.data / name).is_dir():
            run(arguments.data / name, name, arguments.seeds)
        else:
            print(f"{name}: no folder of that name in DATA, passed over", file=sys.stderr)


def run(folder: Path, name: str, seeds: int) -> None:
    """Measure one data set and write its entry."""
    fit_on, job = FIT_ON[name], name.replace("/", "-")
    split = by_given(GraphSnapshot.from_tables(load("atomic", folder)))
    by_seed = [kept(f"{job}-{seed}", partial(one_seed, split, fit_on, seed)) for seed in range(seeds)]
    entry = {"protocol": f"fit on {fit_on}; {PROTOCOL}", **summary(by_seed)}
    write(job, entry)
    print(name, {part: round(found["worth"], 4) for part, found in entry["without"].items()}, flush=True)


def kept(name: str, compute: Callable[[], Values]) -> Values:
    """Return what was computed before under a name; compute it if nothing was."""
    path = ROOT / "build" / "ablation" / f"{name}.npz"
    if not path.exists():
        values = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **values)
    with np.load(path) as found:
        return dict(found)


def write(name: str, entry: Mapping[str, Any]) -> None:
    path = RESULTS / "ablation.json"
    before = json.loads(path.read_text(encoding="utf-8"))["data"] if path.exists() else {}
    both = {**before, name: entry}
    result = {
        "command": "python benchmarks/ablation.py DATA",
        "metric": str(NDCG_AT_20),
        "max_users": MAX_USERS,
        "data": {job: both[job] for job in (n.replace("/", "-") for n in FIT_ON) if job in both},
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def one_seed(split: Split, fit_on: FitOn, seed: int) -> Values:
    """Measure the blend of all signals, of all but each, and of all signals without the knowledge graph."""
    values = without_each(split, fit_on, seed)
    if split.graph.relations:
        values[KNOWLEDGE] = without_each(without_knowledge(split), fit_on, seed, only_everything=True)[EVERYTHING]
    return values


def without_each(split: Split, fit_on: FitOn, seed: int, *, only_everything: bool = False) -> Values:
    """Fit all signals once; measure the blends of all, and of all but some."""
    encode = partial(text_vectors, encoder=default_encoder(), cache=VectorCache())
    sets = training_sets(split, Config(seed=seed), fit_on)
    graph, final = sets.tuning_graph, sets.final_graph
    vectors = encode(graph)
    kinds = [kind for kind in signal_kinds(Config().signals) if kind.applies(graph, vectors)]
    on_cut = {kind.name: kind(kind.Settings()).fit(graph, vectors, seed) for kind in kinds}
    parts: Parts = {EVERYTHING: frozenset()} if only_everything else parts_of(on_cut)
    blends = learned(parts, on_cut, validation_sets(graph, sets.held_out, seed), graph, seed)
    signals = on_cut if final is graph else refit(on_cut, final, encode(final), seed)
    return measured(parts, signals, blends, split, final)


def without_knowledge(split: Split) -> Split:
    """Take every relationship away that is no behavior; nodes keep their numbers and properties."""
    graph = split.graph
    behaviors = {edge_type: edges for edge_type, edges in graph.edges.items() if graph.schema.is_behavior(edge_type)}
    return replace(split, graph=replace(graph, edges=behaviors))


Parts = dict[str, frozenset[str]]
"""What is taken away → the signals of that."""
Blends = dict[str, dict[str, GroupedBlend]]
"""What was taken away → domain → blend of the other signals."""


def parts_of(signals: Signals) -> Parts:
    each = {name: frozenset([name]) for name in signals}
    return {EVERYTHING: frozenset(), **each} | ({ALL_TEXT: OF_TEXT} if signals.keys() >= OF_TEXT else {})


def learned(
    parts: Parts, signals: Signals, holdouts: Sequence[ValidationSet], graph: GraphSnapshot, seed: int
) -> Blends:
    """Learn the blends of all signals, and of all but some; a signal that is taken away has the weight 0."""
    popularity = np.asarray(graph.interactions.sum(axis=0), dtype=np.float32).ravel()
    blends: Blends = {part: {} for part in parts}
    for holdout in holdouts:
        some = holdout.take(users_to_learn_from(holdout.seen, holdout.relevant, seed))
        scores = [some.scores(signal.scores) for signal in signals.values()]
        new = is_cold_start(some.seen)
        groups = [~new, new] if min(new.sum(), (~new).sum()) >= MIN_BLEND_USERS else [np.ones_like(new)]
        for group in groups:
            users, own = some.take(np.flatnonzero(group)), [part[group] for part in scores]
            of_group = learned_of_group(parts, list(signals), own, users, popularity[users.item_num], seed)
            for part, blend in of_group.items():
                before = blends[part].get(holdout.domain)
                blends[part][holdout.domain] = GroupedBlend(before.default, blend) if before else GroupedBlend(blend)
    return blends


def learned_of_group(
    parts: Parts,
    names: list[str],
    scores: Sequence[FloatArray],
    users: ValidationSet,
    popularity: FloatArray,
    seed: int,
) -> dict[str, Blend]:
    """Return what was taken away → blend learned from a group of users."""
    activity = np.diff(users.seen.indptr)
    scales = Scale.from_counts(activity), Scale.from_counts(popularity)
    scaled = scales[0](activity), scales[1](popularity)
    lists = CandidateLists.from_scores(scores, users.seen, users.relevant, *scaled, seed)
    report = {"signals": {name: float(users.evaluate(own).mean()) for name, own in zip(names, scores, strict=True)}}
    blends = {}
    for part, taken in parts.items():
        kept = [place for place, name in enumerate(names) if name not in taken]
        weights = np.zeros((len(FEATURE_KINDS), len(names)), np.float32)
        rest = replace(lists, raw=lists.raw[kept], zscore=lists.zscore[kept])
        weights[:, kept] = ListwiseSoftmax(rest, FEATURE_KINDS).weights()
        blends[part] = Blend(tuple(names), "max_likelihood", weights, *scales, report)
    return blends


def measured(parts: Parts, signals: Signals, blends: Blends, split: Split, final: GraphSnapshot) -> Values:
    """Return NDCG@20 of every question for each blend; each user is scored once."""
    models = {part: HybridModel(final, signals, of_domain) for part, of_domain in blends.items()}
    users, found = np.unique(split.test.user_num), []
    users = np.sort(np.random.default_rng(0).choice(users, min(len(users), MAX_USERS), replace=False))
    relevant = split.graph.pairs(split.test)
    for first in range(0, len(users), BATCH_USERS):
        some = users[first : first + BATCH_USERS]
        scored = models[EVERYTHING].score(some)
        totals = {part: total_of(scored, model, parts[part]) for part, model in models.items()}
        for items, taken, seen in by_domain(split, relevant[some], some):
            found.append({p: NDCG_AT_20.of_scores(total[:, items], taken, seen) for p, total in totals.items()})
    values = {part: np.concatenate([of[part] for of in found]) for part in models}
    return {part: of_part[~np.isnan(of_part)] for part, of_part in values.items()}


def total_of(scored: Scored, model: HybridModel, taken: frozenset[str]) -> FloatArray:
    """Return the scores of another blend, without some signals, from the same scores of signals."""
    total = model.blended(scored.parts, scored.seen, scored.new)
    if (rows := scored.described).any():
        own = [scores[rows] for scores in scored.parts]
        total[rows] = by_description(model, taken).blended(own, scored.seen[rows], scored.new[rows])
    return total


def by_description(model: HybridModel, taken: frozenset[str]) -> HybridModel:
    """Return the blend for users without behaviors, in which some signals have the weight 0."""
    blends = {domain: blend.default for domain, blend in model.by_description.blends.items()}
    weights = {domain: blend.weights * ~np.isin(blend.signals, list(taken)) for domain, blend in blends.items()}
    return replace(model, blends={d: GroupedBlend(replace(blend, weights=weights[d])) for d, blend in blends.items()})


def by_domain(
    split: Split, relevant: sp.csr_matrix, some: IntArray
) -> Iterator[tuple[IntArray, sp.csr_matrix, sp.csr_matrix]]:
    """Yield the items of each domain, and what some users took and have seen of them."""
    seen = split.train_and_valid.interactions[some]
    for domain in sorted(set(split.graph.item_domains)):
        items = np.flatnonzero(split.graph.item_domains == domain)
        yield items, relevant[:, items].tocsr(), seen[:, items].tocsr()


def summary(by_seed: list[Values]) -> dict[str, Any]:
    values = {part: np.stack([seed[part] for seed in by_seed]) for part in by_seed[0]}
    whole = values.pop(EVERYTHING)
    return {
        "seeds": len(by_seed),
        "questions": whole.shape[1],
        EVERYTHING: over_seeds(whole),
        "without": {part: {**over_seeds(found), **worth(whole, found)} for part, found in values.items()},
    }


def over_seeds(values: FloatArray) -> Mapping[str, float]:
    means = values.mean(axis=1, dtype=np.float64)
    return {"mean": float(means.mean()), "deviation": float(means.std())}


def worth(whole: FloatArray, without: FloatArray) -> Mapping[str, float]:
    test = paired_test(whole.mean(axis=0), without.mean(axis=0))
    return {"worth": test.difference, "low": test.low, "high": test.high, "p_value": test.p_value}


if __name__ == "__main__":
    main()
