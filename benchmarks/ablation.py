"""What each part of kgrec is worth: the same defaults without one signal, without text, without the knowledge graph.

    python benchmarks/ablation.py DATA [--only NAMES] [--seeds 3]

DATA is a folder with one folder of atomic files for each data set of benchmarks/accuracy.py; one that is missing is
passed over. A signal is taken away by learning the blend anew without it; for text and for the knowledge graph all is
trained anew. Worth is the difference in a user's NDCG@20, averaged over the seeds, with its 95 % interval by bootstrap
over users. Writes benchmarks/results/ablation-NAME.json; benchmarks/make_tables.py makes the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import FIT_ON, RESULTS

from kgrec._util.types import FloatArray
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.evaluation.evaluate import measure
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.model import HYBRID, HybridModel
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.metrics.significance import paired_test
from kgrec.store.load import load
from kgrec.text import VectorCache, default_encoder, text_vectors
from kgrec.training.pipeline import Encode, FitOn, Trained, state_of_cut, train, training_sets

EVERYTHING, TEXT, KNOWLEDGE = "everything", "all text", "knowledge graph"
OF_TEXT = ("embeddings", "tfidf")
"""Signals that read text; without text the graph network does without its text vectors too."""
K = 20

Values = dict[str, FloatArray]
"""What was taken away → NDCG@20 of every question, float32 [n]."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(FIT_ON), help="names of data sets, with commas")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        if (arguments.data / name).is_dir():
            run(arguments.data, name, arguments.seeds)
        else:
            print(f"{name}: no folder of that name in DATA, passed over", file=sys.stderr)


def run(data: Path, name: str, seeds: int) -> None:
    """Measure one data set and write its result."""
    start, fit_on = time.perf_counter(), FIT_ON[name]
    encode = partial(text_vectors, encoder=default_encoder(), cache=VectorCache())
    split = by_given(GraphSnapshot.from_tables(load("atomic", data / name)))
    by_seed = [one_seed(split, Config(seed=seed), encode, fit_on) for seed in range(seeds)]
    result = {
        "command": f"python benchmarks/ablation.py DATA --only {name} --seeds {seeds}",
        "protocol": f"fit on {fit_on}; {PROTOCOL}",
        **summary(by_seed),
        "seconds": round(time.perf_counter() - start, 1),
    }
    path = RESULTS / f"ablation-{name.replace('/', '-')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(name, {part: round(found["worth"], 4) for part, found in result["without"].items()}, flush=True)


def one_seed(split: Split, config: Config, encode: Encode, fit_on: FitOn) -> Values:
    trained = train(split, config, encode, fit_on)
    values = {EVERYTHING: ndcg(trained.model, split)}
    values |= without_each_signal(split, trained, config, encode, fit_on)
    if not trained.model.signals.keys().isdisjoint(OF_TEXT):
        rest = config.model_copy(update={"signals": tuple(s for s in config.signals if s not in OF_TEXT)})
        values[TEXT] = ndcg(train(split, rest, lambda snapshot: {}, fit_on).model, split)
    if split.graph.relations:
        bare = without_knowledge(split)
        values[KNOWLEDGE] = ndcg(train(bare, config, encode, fit_on).model, bare)
    return values


def without_each_signal(split: Split, trained: Trained, config: Config, encode: Encode, fit_on: FitOn) -> Values:
    """Learn the blend anew without each signal in turn; the other signals stay as they are."""
    state = state_of_cut(trained, training_sets(split, config, fit_on), config, encode)
    final, values = trained.model.signals, {}
    for name in final:
        kept = [other for other in final if other != name]
        blends = learn_blends(replace(state, signals={n: state.signals[n] for n in kept}))
        values[name] = ndcg(replace(trained.model, signals={n: final[n] for n in kept}, blends=blends), split)
    return values


def without_knowledge(split: Split) -> Split:
    """Take every relationship away that is no behavior; nodes keep their numbers and properties."""
    graph = split.graph
    behaviors = {edge_type: edges for edge_type, edges in graph.edges.items() if graph.schema.is_behavior(edge_type)}
    return replace(split, graph=replace(graph, edges=behaviors))


def ndcg(model: HybridModel, split: Split) -> FloatArray:
    """Return NDCG@20 of every question, over all domains, float32 [n]."""
    measured = measure(model, split, [K])
    return np.concatenate([found.evaluations[HYBRID].per_user[f"NDCG@{K}"] for found in measured.values()])


def summary(by_seed: list[Values]) -> dict[str, Any]:
    values = {part: np.stack([seed[part] for seed in by_seed]) for part in by_seed[0]}
    whole = values.pop(EVERYTHING)
    return {
        "metric": f"NDCG@{K}",
        "seeds": len(by_seed),
        "questions": whole.shape[1],
        EVERYTHING: over_seeds(whole),
        "without": {part: {**over_seeds(found), **worth(whole, found)} for part, found in values.items()},
    }


def over_seeds(values: FloatArray) -> Mapping[str, float]:
    means = np.nanmean(values, axis=1, dtype=np.float64)
    return {"mean": float(means.mean()), "deviation": float(means.std())}


def worth(whole: FloatArray, without: FloatArray) -> Mapping[str, float]:
    test = paired_test(whole.mean(axis=0), without.mean(axis=0))
    return {"worth": test.difference, "low": test.low, "high": test.high, "p_value": test.p_value}


if __name__ == "__main__":
    main()
