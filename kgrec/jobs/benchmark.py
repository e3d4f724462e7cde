"""`kgrec benchmark`: train with defaults on atomic benchmark files; write lists and metrics for others to verify."""

from __future__ import annotations

import json
import logging
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kgrec._util.files import atomic_path, check_target
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.errors import RunError, UsageError
from kgrec.evaluation.evaluate import SHOWN_METRICS, measure, metrics, recommendations
from kgrec.recommender import Recommender
from kgrec.store import open_graph
from kgrec.store.load import load

logger = logging.getLogger(__name__)

PROTOCOL = (
    "full ranking of all items of the domain that are in neither the user's train nor valid; "
    "every user with a test row counts; binary relevance"
)
LISTS_FILE, METRICS_FILE = "recommendations.parquet", "metrics.json"
FIT_ON = ("train", "train+valid")


def run_benchmark(
    folder: str | Path, *, fit_on: str = "train", ks: Sequence[int] = (10, 20), seeds: int = 1, out: str | Path
) -> dict[str, Any]:
    """Load benchmark files into a temporary graph, train with defaults, rank, evaluate, and write the result.

    For each user with a test row, all items that are in neither their train nor their valid rows are ranked (of the
    test row's domain, if items have domains). The result is written after each seed. A second call with the same `out`
    skips the seeds that it already has for the same data, arguments and version.

    Args:
        folder: atomic files NAME.train.inter and NAME.test.inter, and optionally NAME.valid.inter.
        fit_on: rows that the final model is fitted on: "train", or "train+valid" with the settings chosen on valid.
        ks: list lengths.
        seeds: number of seeds, from 0 on; the lists of seed 0 are written.
        out: folder for recommendations.parquet and metrics.json.

    Returns:
        The content of metrics.json.

    Raises:
        UsageError: an invalid argument, or no test file.
        DataError: lists every problem of the files.
        RunError: `out` cannot be written.
    """
    if fit_on not in FIT_ON:
        raise UsageError(f"invalid --fit-on: {fit_on!r}. Expected one of {', '.join(FIT_ON)}")
    if seeds < 1 or not ks or min(ks) < 1:
        raise UsageError(f"seeds or k is too small: seeds={seeds}, k={list(ks)}. Expected at least 1")
    start = time.perf_counter()
    snapshot = _load_fresh(folder)
    if not (snapshot.behaviors.split == "test").any():
        raise UsageError(f"{folder} has no test rows. Expected a file NAME.test.inter beside NAME.train.inter")
    split = by_given(snapshot)
    loading = time.perf_counter() - start
    _prepare(Path(out))
    same = {"data": snapshot.digest, "fit_on": fit_on, "k": list(ks), "version": version("kgrec")}
    facts = _written(Path(out), same)[:seeds]
    for seed in range(len(facts), seeds):
        seed_facts, lists = _one_seed(split, fit_on, ks, seed)
        facts.append(seed_facts)
        _write(Path(out), {**_summary(folder, fit_on, ks, split, loading, facts), "same": same}, lists, seed)
    return {**_summary(folder, fit_on, ks, split, loading, facts), "same": same}


def _written(out: Path, same: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the facts of each seed that an earlier run of the same benchmark has written."""
    try:
        before = json.loads((out / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(before, dict) or before.get("same") != same or not (out / LISTS_FILE).is_file():
        return []
    logger.info(f"{out} has the results of {len(before['seeds'])} seeds already")
    return list(before["seeds"])


def seeds_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return each metric's mean ± standard deviation over the seeds, one row per model."""
    mean, deviation = (pd.DataFrame(result[part]).T.filter(regex=SHOWN_METRICS) for part in ("mean", "deviation"))
    both = mean.map("{:.4f}".format) + " ± " + deviation.map("{:.4f}".format)
    return both.rename_axis("model").reset_index()


def _load_fresh(folder: str | Path) -> GraphSnapshot:
    with tempfile.TemporaryDirectory() as place, open_graph(str(Path(place) / "benchmark.lbug"), create=True) as store:
        load("atomic", folder, into=store)
        return store.snapshot()


def _one_seed(split: Split, fit_on: str, ks: Sequence[int], seed: int) -> tuple[dict[str, Any], pd.DataFrame]:
    cpu = time.process_time()
    model = Recommender(seed=seed).fit(split, fit_on="train" if fit_on == "train" else "train+valid")
    start = time.perf_counter()
    measured = measure(model._model, split, ks)
    seconds = {**model._trained.seconds, "rank and measure": round(time.perf_counter() - start, 3)}
    summary = metrics(measured, split.protocol, seed)
    cpu_seconds = round(time.process_time() - cpu, 1)
    facts = {
        "seed": seed,
        "metrics": summary,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory_mb": peak_memory_mb(),
        "choices": model._trained.choices,
    }
    return facts, recommendations(measured, split)


def _prepare(out: Path) -> None:
    """Create the folder, so that a path that cannot be written fails before training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}. Choose another folder with --out") from error
    for name in (LISTS_FILE, METRICS_FILE):
        check_target(out / name)


def _write(out: Path, result: Mapping[str, Any], lists: pd.DataFrame, seed: int) -> None:
    """Write both files, each atomically; the lists are those of seed 0."""
    try:
        if seed == 0:
            with atomic_path(out / LISTS_FILE) as made:
                lists.to_parquet(made, index=False)
        with atomic_path(out / METRICS_FILE) as made:
            made.write_text(json.dumps(result, indent=1), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error}") from error


def _summary(
    folder: str | Path, fit_on: str, ks: Sequence[int], split: Split, loading: float, results: list[dict[str, Any]]
) -> dict[str, Any]:
    values = {
        model: {metric: [r["metrics"]["models"][model][metric] for r in results] for metric in means}
        for model, means in results[0]["metrics"]["models"].items()
    }
    chosen_on = "valid" if split.is_valid.any() else "a random part of train"
    first, cut_offs = results[0]["metrics"], ",".join(map(str, ks))
    return {
        "command": f"kgrec benchmark {Path(folder).name} --fit-on {fit_on} --k {cut_offs} --seeds {len(results)}",
        "protocol": f"fit on {fit_on}; settings chosen on {chosen_on}; {PROTOCOL}",
        "mean": {m: {k: float(np.mean(v)) for k, v in means.items()} for m, means in values.items()},
        "deviation": {m: {k: float(np.std(v)) for k, v in means.items()} for m, means in values.items()},
        "metrics": first,
        "seeds": results,
        "seconds": {"load": round(loading, 3), **results[0]["seconds"]},
        "peak_memory_mb": max(r["peak_memory_mb"] for r in results),
        "versions": {"kgrec": version("kgrec"), "python": platform.python_version(), "torch": version("torch")},
    }


def peak_memory_mb() -> int:
    """Return the peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
