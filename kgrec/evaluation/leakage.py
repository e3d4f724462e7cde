"""Leakage check: has any stage of training used test interactions?

Each stage of training is repeated on a graph without the test interactions, and the results are compared. Training is
deterministic for a seed, so a stage that did not use test interactions gives the same result; one that did does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import BoolArray, IntArray
from kgrec.config import Config
from kgrec.data.edges import Behaviors
from kgrec.data.single_domain import single_domain
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.split import Split, by_time
from kgrec.hybrid.blend import Blend, GroupedBlend
from kgrec.hybrid.cold_start import cold_start_holdouts
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels
from kgrec.ranking.top_k import BATCH_BYTES
from kgrec.signals.base import Signal, Signals, fit_fresh, refit
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.training.pipeline import Encode, FitOn, Trained, state_of_cut, training_sets
from kgrec.tuning.validation import ValidationSet, mean_metric

TOLERANCE: Final = 1e-5
"""Maximum difference of equal results, relative to the largest value: rounding."""

COLUMNS: Final = ["stage", "kind", "id", "detail"]

BY_TIME_SHARE: Final = 0.9
"""Minimum share of users whose test interactions are their latest, for a given split to count as made by time."""


def leaks(split: Split, trained: Trained, config: Config, encode: Encode, fit_on: FitOn) -> pd.DataFrame:
    """Return one row for each leak of test interactions, or of later ones, into a stage of training.

    Stages, in order: "graph" (the training interactions and their matrix), "relationships" (test interactions that are
    also in the graph as another type of relationship, in either direction), "times" (training interactions later than
    the test interactions), "fine-tuning" and "re-ranking" (text models, by the digest of their training graph), "text
    vectors", each signal by name (segment models separately), "statistics" (activity and popularity, features of the
    blend), "settings" (their validation metrics) and "blend". Signals are refitted with the same text vectors, so a
    leak into text vectors shows only there; a leak into the graph shows in all stages that read it. The cost is one fit
    of every signal, two if the final signals were fitted on more than the tuning graph, and no search.

    Args:
        split: the split that the model was trained on.
        trained: the result of training on this type of machine: other processors round differently.
        config, encode, fit_on: as for training.

    Returns:
        Columns stage, kind (of `id`: behavior, pair, user, item, signal, domain, graph, or a node label), id, detail.
    """
    sets = training_sets(without_test(split), config, fit_on)
    model, clean = trained.model, sets.final_graph
    state = state_of_cut(trained, sets, config, encode)
    once = sets.final_graph is sets.tuning_graph
    again = (fit_fresh if once else refit)(state.signals, clean, trained.vectors, config.seed)
    blends, as_new = learn_blends(state), cold_start_holdouts(state.validation)
    stages = [
        ("graph", _in_graph(model.train, clean, split)),
        ("relationships", _in_relationships(model.train, split)),
        ("times", _in_times(split)),
        ("fine-tuning", _in_tuning(trained.tuned, sets.tuning_graph)),
        ("re-ranking", _in_tuning(model.second.tuned if model.second else None, sets.tuning_graph)),
        ("text vectors", _in_text(trained.vectors, encode(clean), clean)),
        *((name, _in_scores(signal, again[name], clean)) for name, signal in model.signals.items()),
        *_in_segment_models(model.segment_models, clean, trained.vectors, config.seed),
        ("statistics", _in_statistics(model, HybridModel(clean, again, model.blends))),
        ("settings", _in_settings(trained.choices["signals"], state.signals, state.search_sets)),
        ("settings", _in_settings(trained.choices.get("cold_start", {}), state.segment_models.cold_start, as_new)),
        ("blend", _in_blends(model.blends, blends)),
    ]
    rows = [rows.assign(stage=stage) for stage, rows in stages if len(rows)]
    return pd.concat(rows, ignore_index=True)[COLUMNS] if rows else pd.DataFrame(columns=COLUMNS)


def without_test(split: Split) -> Split:
    """Return a split of the graph without the test interactions, with the same train and validation parts."""
    kept = ~split.is_test
    valid = split.is_valid[kept]
    return Split(split.graph.with_behaviors(kept), valid, np.zeros_like(valid), split.protocol, split.cut_again)


def _in_graph(train: GraphSnapshot, clean: GraphSnapshot, split: Split) -> pd.DataFrame:
    rows, allowed = _rows(train), _rows(clean).drop_duplicates()
    unknown = (rows.merge(allowed, how="left", indicator=True)["_merge"] == "left_only").to_numpy()
    strange = train.behaviors.where(unknown)
    hidden = split.graph.pairs(split.test)
    hidden -= hidden.multiply(clean.interactions)
    user_num, item_num = hidden.multiply(train.interactions).nonzero()
    return _joined(
        _found("behavior", _pairs(train, strange.user_num, strange.item_num), "used for training, but not in train"),
        _found("pair", _pairs(train, user_num, item_num), "in the interaction matrix, but only in test"),
    )


def _rows(graph: GraphSnapshot) -> pd.DataFrame:
    """Return the interactions with all columns that identify them, so that repetitions of a pair differ."""
    behaviors = graph.behaviors
    names = ("user_num", "item_num", "type_num", "time", "weight")
    return pd.DataFrame({name: getattr(behaviors, name) for name in names})


def _in_relationships(train: GraphSnapshot, split: Split) -> pd.DataFrame:
    """Return test pairs, not in train, that are connected by a relationship that is not an interaction."""
    hidden = split.graph.pairs(split.test)
    hidden -= hidden.multiply(split.train_and_valid.interactions)
    user_num, item_num = hidden.nonzero()
    users, items = train.user_nodes[user_num], train.item_nodes[item_num]
    forward, backward = users * train.n_nodes + items, items * train.n_nodes + users
    findings = []
    for (_, type_, _), (source, target) in train.relations.items():
        ends = source * train.n_nodes + target
        known = np.isin(forward, ends) | np.isin(backward, ends)
        ids = _pairs(train, user_num[known], item_num[known])
        findings.append(_found("pair", ids, f"a test interaction that the relationship {type_} reveals"))
    return _joined(*findings)


def _in_times(split: Split) -> pd.DataFrame:
    """Return the training interactions later than the test interactions, if the split was made by time."""
    test, learned = split.test, split.train_and_valid.behaviors
    if not len(test) or np.isnan(test.time).any() or np.isnan(learned.time).any():
        return _joined()
    first = np.full(split.graph.n_users, np.inf)
    np.minimum.at(first, test.user_num, test.time)
    late = learned.time > first[learned.user_num]
    if split.cut_again is by_time:
        late = learned.time > test.time.min()
    elif split.cut_again is None and not _is_by_time(test, learned, late):
        return _joined()
    late_rows = learned.where(late)
    return _found(
        "behavior",
        _pairs(split.graph, late_rows.user_num, late_rows.item_num),
        "used for training, but later than test",
    )


def _is_by_time(test: Behaviors, learned: Behaviors, late: BoolArray) -> bool:
    both = np.intersect1d(test.user_num, learned.user_num)
    in_order = np.isin(both, learned.user_num[late], invert=True)
    return bool(len(both) and in_order.mean() >= BY_TIME_SHARE)


def _in_tuning(tuned: FineTunedWeights | None, clean: GraphSnapshot) -> pd.DataFrame:
    if tuned is None or tuned.origin.learned_from == clean.digest:
        return _joined()
    return _found(
        "graph", [tuned.origin.learned_from], "the text model was fine-tuned on another graph than the tuning graph"
    )


def _in_text(vectors: Vectors, clean: Vectors, graph: GraphSnapshot) -> pd.DataFrame:
    findings = []
    for label in vectors:
        ids = np.asarray(graph.ids(label), dtype=object)
        differ = _rows_that_differ(vectors[label], clean.get(label))
        findings.append(_found(label, ids[differ], "its text vector differs without the test interactions"))
    return _joined(*findings)


def _in_scores(signal: Signal, again: Signal, clean: GraphSnapshot) -> pd.DataFrame:
    size = max(1, BATCH_BYTES // (4 * clean.n_items))
    batches = np.split(np.arange(clean.n_users), range(size, clean.n_users, size))
    differ = [users[_rows_that_differ(signal.scores(users), again.scores(users))] for users in batches]
    ids = clean.users.ids[np.concatenate(differ)]
    return _found("user", ids, "scores differ without the test interactions")


def _in_segment_models(
    segment_models: SegmentModels, clean: GraphSnapshot, vectors: Vectors, seed: int
) -> list[tuple[str, pd.DataFrame]]:
    """Return the leaks of segment models: (stage, rows) for each signal."""
    again, findings = segment_models.refit(clean, vectors, seed), []
    for domain, signals in segment_models.single_domain.items():
        only, fitted = single_domain(clean, domain), again.single_domain[domain]
        findings += [
            (f"{name}, single domain {domain}", _in_scores(signals[name], fitted[name], only)) for name in signals
        ]
    for name, signal in segment_models.cold_start.items():
        findings.append((f"{name}, cold start", _in_scores(signal, again.cold_start[name], clean)))
    return findings


def _in_statistics(model: HybridModel, clean: HybridModel) -> pd.DataFrame:
    users = _rows_that_differ(model.activity[:, None], clean.activity[:, None])
    items = _rows_that_differ(model.popularity[:, None], clean.popularity[:, None])
    return _joined(
        _found("user", clean.train.users.ids[users], "activity counts interactions that are not in train"),
        _found("item", clean.train.items.ids[items], "popularity counts interactions that are not in train"),
    )


def _in_settings(chosen: Mapping[str, Any], of_cut: Signals, holdouts: Sequence[ValidationSet]) -> pd.DataFrame:
    reached = {name: mean_metric(holdouts, signal.scores) for name, signal in of_cut.items()} if holdouts else {}
    findings = []
    for name, value in reached.items():
        before = chosen[name]["metric_value"]
        if len(_rows_that_differ(np.array([[before]]), np.array([[value]]))):
            detail = f"chosen by a validation metric of {before:.4f}, which is {value:.4f} when repeated"
            findings.append(_found("signal", [name], detail))
    return _joined(*findings)


def _in_blends(blends: Mapping[str, GroupedBlend], again: Mapping[str, GroupedBlend]) -> pd.DataFrame:
    differ = [d for d, blend in blends.items() if len(_rows_that_differ(_learned(blend), _learned(again[d])))]
    return _found("domain", differ, "weights differ without the test interactions")


def _learned(blend: GroupedBlend) -> npt.NDArray[Any]:
    """Return all learned numbers of a domain as one row: blends and calibration of cold items."""
    learned = [_numbers(group) for group in (blend.default, blend.cold_start, blend.new_users) if group]
    cold_items = (
        [blend.cold_items.scale, *np.ravel(list(blend.cold_items.weights.values()))] if blend.cold_items else []
    )
    return np.concatenate([*learned, cold_items])[None]


def _numbers(blend: Blend) -> npt.NDArray[Any]:
    options = list(blend.report.get("options", {}).values())
    scales = [value for scale in (blend.activity, blend.popularity) for value in (scale.mean, scale.deviation)]
    return np.concatenate([blend.weights.ravel(), scales, options])


def _rows_that_differ(values: npt.NDArray[Any], clean: npt.NDArray[Any] | None) -> IntArray:
    """Return the rows in which two matrices [n, d] differ; all rows if the shapes differ."""
    if clean is None or values.shape != clean.shape:
        return np.arange(len(values))
    close = TOLERANCE * np.abs(clean[np.isfinite(clean)]).max(initial=0)
    return np.flatnonzero(~np.isclose(values, clean, rtol=0, atol=close, equal_nan=True).all(axis=1))


def _pairs(graph: GraphSnapshot, user_num: npt.NDArray[Any], item_num: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    return np.asarray(graph.users.ids[user_num] + " " + graph.items.ids[item_num], dtype=object)


def _found(kind: str, ids: Any, detail: str) -> pd.DataFrame:
    return pd.DataFrame({"kind": kind, "id": np.asarray(ids, dtype=object), "detail": detail})


def _joined(*findings: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([_found("", [], ""), *findings], ignore_index=True)
