"""Build the next run for an updated graph: retrain as far as the policy requires and compare with the live run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, by_random, latest_of_users
from kgrec.jobs.evaluate import metrics_of
from kgrec.jobs.refresh.gate import MIN_TEST_CASES, compare, figures_of, reasons
from kgrec.jobs.refresh.policy import Mode, Size, UpdatePlan, chosen, fitted, size_of
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.train import summary_of
from kgrec.metrics.ranking import Metric
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import erasures_blocked
from kgrec.runs.folder import Run, new_name
from kgrec.runs.publish import lists_table
from kgrec.runs.save_load import save_model
from kgrec.store.inputs import as_split

LIST_LENGTH: Final = 100
"""Length of the lists that a run stores."""

COMPARED_SHARE: Final = 0.05
"""Share of each user's latest behaviors that the comparison holds out if the data mark no test split."""


def slice_of(snapshot: GraphSnapshot, seed: int) -> tuple[Split, bool]:
    """Return the split for the comparison: marked in the data, else each user's latest behaviors, else random ones.

    Returns:
        The split, and whether the data mark it, so that the final model must not be trained on its test part.
    """
    if as_split(snapshot).is_test.any():
        return by_given(snapshot), True
    if np.isnan(snapshot.behaviors.time).any():
        return by_random(snapshot, COMPARED_SHARE, seed), False
    return latest_of_users(snapshot, COMPARED_SHARE), False


def retrain(
    request: RefreshRequest,
    snapshot: GraphSnapshot,
    live_run: Run | None,
    update_plan: UpdatePlan,
    config: Config,
    facts: Mapping[str, Any],
    step: Callable[..., None],
) -> Run:
    """Train a run on a graph, compare it with the live run, and save it, whatever the result of the comparison.

    The compared model is trained without the test split. The saved model has it folded in, unless the data mark it.

    Args:
        request: the graph and the folder of its runs.
        snapshot: the graph.
        live_run: the live run; None if there is none.
        update_plan: how much to retrain.
        config: settings.
        facts: further entries for "refresh" in run.json.
        step: called at the start of each step, to report it.

    Returns:
        The run; "gate" in its info has the comparison and the reasons to refuse the run.
    """
    start, (cut, given) = time.perf_counter(), slice_of(snapshot, config.seed)
    live_model = Recommender.load(live_run.folder) if live_run else None
    step(update_plan.mode, why=update_plan.why)
    candidate = _trained(update_plan.mode, live_model, config, cut)
    step("compare")
    measured = _compared(live_model, candidate, cut)
    fitted_model = live_model if live_model and update_plan.mode == "fold-in" else candidate
    final = candidate if given else fitted_model.fold_in(snapshot)
    step("recommend")
    listed = final.recommend(snapshot.users.ids, k=LIST_LENGTH)
    lists = lists_table(listed)
    info: dict[str, Any] = {
        "split": "given" if given else "none",
        "protocol": cut.protocol,
        "metrics": _metrics(candidate, cut) if update_plan.mode == "full" else None,
        "data_digest": snapshot.digest,
        "encoded": final._cache.encoded,
        "gate": _gate(live_run, measured, lists, snapshot),
        "reached": _metric_history(update_plan.mode, live_run, measured),
        **_sizes(update_plan.mode, live_run, size_of(snapshot)),
    }
    seconds = time.perf_counter() - start
    info["summary"] = summary_of(cut, final._trained.choices, listed, seconds)
    info["refresh"] = {"mode": update_plan.mode, "why": update_plan.why, "seconds": round(seconds, 1), **facts}
    step("keep")
    with erasures_blocked(request.root, request.graph, snapshot):
        return save_model(request.root / new_name(), final._trained, config, info, {"recommendations": lists})


def _trained(mode: Mode, live_model: Recommender | None, config: Config, cut: Split) -> Recommender:
    if mode == "full" or live_model is None:
        # Settings from a run file must not trigger the download of a text model.
        return Recommender(config, fetch=live_model is None or config != live_model.config).fit(cut)
    return live_model.refit(cut) if mode == "refit" else live_model.fold_in(cut)


def _compared(live_model: Recommender | None, candidate: Recommender, cut: Split) -> dict[str, Any]:
    """Return the comparison of a candidate with the live model; no test cases without a live model or a test split."""
    if live_model is None or not cut.is_test.any():
        return {"users": 0}
    config = candidate.config
    return compare(live_model._model, candidate._model, cut, config.seed, Metric.parse(config.metric))


def _metrics(model: Recommender, cut: Split) -> dict[str, Any] | None:
    return metrics_of(model, cut) if cut.is_test.any() else None


def _gate(
    live_run: Run | None, measured: Mapping[str, Any], lists: pa.Table, snapshot: GraphSnapshot
) -> dict[str, Any]:
    """Return the gate's figures and its reasons to refuse the run; the first run has none."""
    new = figures_of(lists, snapshot.n_users, snapshot.n_items, snapshot.schema.digest)
    checked: dict[str, Any] = {"measured": dict(measured), "lists": new, "reasons": [], "forced": False}
    if live_run:
        summary, schema = live_run.info["summary"], live_run.info["digests"]["schema"]
        old = figures_of(live_run.table("recommendations"), summary["users"], summary["items"], schema)
        checked["reasons"] = reasons(measured, old, new)
    return checked


def _sizes(mode: Mode, live_run: Run | None, now: Size) -> dict[str, Any]:
    """Return the sizes of the graph when the run's signals were fitted, and when its settings were tuned."""
    then_fitted = asdict(now) if mode != "fold-in" or not live_run else fitted(live_run.info)
    then_chosen = asdict(now) if mode == "full" or not live_run else chosen(live_run.info)
    return {"fitted": dict(then_fitted), "chosen": dict(then_chosen)}


def _metric_history(mode: Mode, live_run: Run | None, measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metric on the newest behaviors: "now" of this run, "then" of the first compared run since tuning."""
    now = measured["candidate"] if measured["users"] >= MIN_TEST_CASES else None
    then = live_run.info.get("reached", {}).get("then") if live_run and mode != "full" else None
    return {"then": now if then is None else then, "now": now}
