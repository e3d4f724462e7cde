"""Leakage: does any stage of training know test behaviours?

What training made is compared, stage by stage, with the same stage repeated on a graph in which the test behaviours do
not exist. A stage that never looked at them comes out equal, since training repeats by seed; one that did cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec.config import Config
from kgrec.hybrid import Blend
from kgrec.model import HybridModel
from kgrec.rank import BATCH_BYTES
from kgrec.signals.base import Signal
from kgrec.snapshot import GraphSnapshot, Vectors
from kgrec.split import Split
from kgrec.training import Encode, FitOn, Trained, learn_blends, parts_of, refit, signals_of_cut
from kgrec.validate import Questions, mean_ndcg, questions

TOLERANCE: Final = 1e-5
"""Difference, as a share of the largest value, below which two results are the same but for rounding."""


def leaks(split: Split, trained: Trained, config: Config, encode: Encode, fit_on: FitOn) -> dict[str, str]:
    """Return the stages of training that know test behaviours, and what shows it; empty where none does.

    Stages are, in order: "graph" (the behaviours learnt from, and their matrix), "text vectors", each signal by its
    name (matrices, messages, statistics, histories), "statistics" (activity and popularity, by which the blend weighs),
    "settings" (what they were chosen on) and "blend". A signal is fitted again with the text vectors it got, so that it
    does not answer for them; a leak into the graph shows in all stages that read it. Costs one fit of every signal, two
    where the final signals learnt from more than the cut's train part, and no search.

    Args:
        split: the graph, cut as it was for training.
        trained: what training made of it, on this kind of machine: other processors round otherwise.
        config, encode, fit_on: as they were for training.
    """
    parts = parts_of(without_test(split), config, fit_on)
    model, clean = trained.model, parts.final
    asked = questions(parts.inner, parts.held_out, config.seed)
    again = refit(model.signals, clean, trained.vectors, config.seed)
    of_cut = signals_of_cut(trained, parts, encode, config.seed)
    found = {
        "graph": _in_graph(model.train, clean, split),
        "text vectors": _in_text(trained.vectors, encode(clean)),
        **{name: _in_scores(signal, again[name], clean) for name, signal in model.signals.items()},
        "statistics": _in_statistics(model, HybridModel(clean, again, model.blends)),
        "settings": _in_settings(trained.choices["signals"], of_cut, asked),
        "blend": _in_blends(model.blends, learn_blends(of_cut, parts.inner, asked, config.seed)),
    }
    return {stage: what for stage, what in found.items() if what}


def without_test(split: Split) -> Split:
    """Return the split of a graph in which the test behaviours do not exist; train and valid are the same."""
    kept = ~split.is_test
    valid = split.is_valid[kept]
    return Split(split.whole.with_behaviours(kept), valid, np.zeros_like(valid), split.protocol, split.cut_again)


def _in_graph(train: GraphSnapshot, clean: GraphSnapshot, split: Split) -> str:
    rows, allowed = _rows(train), _rows(clean).drop_duplicates()
    n_rows = int((rows.merge(allowed, how="left", indicator=True)["_merge"] == "left_only").sum())
    hidden = split.whole.pairs(split.test)
    hidden -= hidden.multiply(clean.interactions)
    n_pairs = int(hidden.multiply(train.interactions).nnz)
    return f"{n_rows} behaviours that are not in train, {n_pairs} test pairs" if n_rows or n_pairs else ""


def _rows(graph: GraphSnapshot) -> pd.DataFrame:
    """Return the behaviours with everything that tells one from another, a later repetition of a pair as well."""
    behaviours = graph.behaviours
    names = ("user_num", "item_num", "type_num", "time", "weight")
    return pd.DataFrame({name: getattr(behaviours, name) for name in names})


def _in_text(vectors: Vectors, clean: Vectors) -> str:
    found = {label: _rows_that_differ(vectors[label], clean.get(label)) for label in vectors}
    return ", ".join(f"vectors of {n} nodes {label}" for label, n in found.items() if n)


def _in_scores(signal: Signal, again: Signal, clean: GraphSnapshot) -> str:
    size = max(1, BATCH_BYTES // (4 * clean.n_items))
    batches = np.split(np.arange(clean.n_users), range(size, clean.n_users, size))
    n = sum(_rows_that_differ(signal.scores(users), again.scores(users)) for users in batches)
    return f"scores of {n} users" if n else ""


def _in_statistics(model: HybridModel, clean: HybridModel) -> str:
    users = _rows_that_differ(model.activity[:, None], clean.activity[:, None])
    items = _rows_that_differ(model.popularity[:, None], clean.popularity[:, None])
    return f"activity of {users} users, popularity of {items} items" if users or items else ""


def _in_settings(chosen: Mapping[str, Any], of_cut: Mapping[str, Signal], asked: list[Questions]) -> str:
    if not asked:
        return ""
    reached = {name: mean_ndcg(asked, signal.scores) for name, signal in of_cut.items()}
    return ", ".join(
        f"{name} was chosen for NDCG {chosen[name]['ndcg']:.4f}, which is {ndcg:.4f}"
        for name, ndcg in reached.items()
        if _rows_that_differ(np.array([[chosen[name]["ndcg"]]]), np.array([[ndcg]]))
    )


def _in_blends(blends: Mapping[str, Blend], again: Mapping[str, Blend]) -> str:
    differ = [d for d, blend in blends.items() if _rows_that_differ(_learnt(blend), _learnt(again[d]))]
    return f"weights of {', '.join(differ)}" if differ else ""


def _learnt(blend: Blend) -> npt.NDArray[Any]:
    """Return everything that learning a blend gave, as one row; that for newcomers as well."""
    options = list(blend.report.get("options", {}).values())
    scales = [value for scale in (blend.activity, blend.popularity) for value in (scale.mean, scale.deviation)]
    newcomers = [_learnt(blend.newcomers)[0]] if blend.newcomers else []
    return np.concatenate([blend.weights.ravel(), scales, options, *newcomers])[None]


def _rows_that_differ(found: npt.NDArray[Any], clean: npt.NDArray[Any] | None) -> int:
    """Count the rows of two matrices [n, d] that are not the same; all, if the shapes are not."""
    if clean is None or found.shape != clean.shape:
        return len(found)
    close = TOLERANCE * np.abs(clean).max(initial=0)
    return int((np.abs(found - clean) > close).any(axis=1).sum())
