"""The run of a graph that has changed: learned as much anew as the rule says, and compared with the run that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, by_random, latest_of_users
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.jobs.evaluate import KS
from kgrec.jobs.refresh.gate import MIN_TEST_USERS, compare, figures_of, reasons
from kgrec.jobs.refresh.policy import Mode, Size, UpdatePlan, chosen, fitted, size_of
from kgrec.jobs.train import summary_of
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import keeping
from kgrec.runs.folder import Run, new_name
from kgrec.runs.publish import lists_table
from kgrec.runs.save_load import save_model
from kgrec.store.inputs import as_split

LIST_LENGTH: Final = 100
"""Length of the lists that a run keeps."""

COMPARED_SHARE: Final = 0.05
"""Share of every user's behaviors, the latest, that the comparison holds out where the data mark none as test."""


def slice_of(snapshot: GraphSnapshot, seed: int) -> tuple[Split, bool]:
    """Hold out what the data mark as test, else the latest of every user's behaviors; random ones without times.

    Returns:
        The cut, and whether it is the data's own, so that the rest of them may not be learned from.
    """
    if as_split(snapshot).is_test.any():
        return by_given(snapshot), True
    if np.isnan(snapshot.behaviors.time).any():
        return by_random(snapshot, COMPARED_SHARE, seed), False
    return latest_of_users(snapshot, COMPARED_SHARE), False


def retrain(
    root: Path,
    graph: str,
    snapshot: GraphSnapshot,
    live_run: Run | None,
    update_plan: UpdatePlan,
    config: Config,
    facts: Mapping[str, Any],
    step: Callable[..., None],
) -> Run:
    """Make a run of a graph, compare it with the one that serves, and keep it, whatever the comparison says.

    What is compared has not seen the held-out slice. What is kept has it folded in, unless the data mark it as test.

    Args:
        root: folder of the graph's runs.
        graph: its URI.
        snapshot: the graph.
        live_run: the run that is published; None if there is none.
        update_plan: how much to learn anew.
        config: settings.
        facts: what else to note in run.json, under "refresh".
        step: is told each step.

    Returns:
        The run; its info has "gate": what was compared, and the reasons to refuse it.
    """
    start, (cut, given) = time.perf_counter(), slice_of(snapshot, config.seed)
    live_model = Recommender.load(live_run.folder) if live_run else None
    step(update_plan.mode, why=update_plan.why)
    candidate = _trained(update_plan.mode, live_model, config, cut)
    step("compare")
    measured = (
        compare(live_model._model, candidate._model, cut, config.seed)
        if live_model and cut.is_test.any()
        else {"users": 0}
    )
    final = (
        candidate
        if given
        else (live_model if live_model and update_plan.mode == "fold-in" else candidate).fold_in(snapshot)
    )
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
        "reached": _reached(update_plan.mode, live_run, measured),
        **_sizes(update_plan.mode, live_run, size_of(snapshot)),
    }
    seconds = time.perf_counter() - start
    info["summary"] = summary_of(cut, final._trained.choices, listed, seconds)
    info["refresh"] = {"mode": update_plan.mode, "why": update_plan.why, "seconds": round(seconds, 1), **facts}
    step("keep")
    with keeping(root, graph, snapshot):
        return save_model(root / new_name(), final._trained, config, info, {"recommendations": lists})


def _trained(mode: Mode, live_model: Recommender | None, config: Config, cut: Split) -> Recommender:
    if mode == "full" or live_model is None:
        # Settings that come from a run may not have a text model fetched.
        return Recommender(config, fetch=live_model is None or config != live_model.config).fit(cut)
    return live_model.refit(cut) if mode == "refit" else live_model.fold_in(cut)


def _metrics(model: Recommender, cut: Split) -> dict[str, Any] | None:
    return metrics(measure(model._model, cut, KS), cut.protocol, model.config.seed) if cut.is_test.any() else None


def _gate(
    live_run: Run | None, measured: Mapping[str, Any], lists: pa.Table, snapshot: GraphSnapshot
) -> dict[str, Any]:
    """Return what the gate looks at, and why it refuses; it lets the first run pass."""
    new = figures_of(lists, snapshot.n_users, snapshot.n_items, snapshot.schema.digest)
    checked: dict[str, Any] = {"measured": dict(measured), "lists": new, "reasons": [], "forced": False}
    if live_run:
        summary, schema = live_run.info["summary"], live_run.info["digests"]["schema"]
        old = figures_of(live_run.table("recommendations"), summary["users"], summary["items"], schema)
        checked["reasons"] = reasons(measured, old, new)
    return checked


def _sizes(mode: Mode, live_run: Run | None, now: Size) -> dict[str, Any]:
    """Return the sizes of the graph when the run's signals were fitted, and when its settings were chosen."""
    then_fitted = asdict(now) if mode != "fold-in" or not live_run else fitted(live_run.info)
    then_chosen = asdict(now) if mode == "full" or not live_run else chosen(live_run.info)
    return {"fitted": dict(then_fitted), "chosen": dict(then_chosen)}


def _reached(mode: Mode, live_run: Run | None, measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the NDCG on the newest behaviors by this run, and by the first compared since settings were chosen."""
    now = measured["candidate"] if measured["users"] >= MIN_TEST_USERS else None
    then = live_run.info.get("reached", {}).get("then") if live_run and mode != "full" else None
    return {"then": now if then is None else then, "now": now}
