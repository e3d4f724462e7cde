"""The audits behind the command: does a run know what it was tested on, and what is odd in a graph?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from kgrec.data.anomalies import audit
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.split import Split, split_by
from kgrec.errors import UsageError
from kgrec.evaluation.leakage import COLUMNS, TOLERANCE, leaks
from kgrec.jobs.evaluate import read_graph
from kgrec.recommender import Recommender
from kgrec.runs.folder import Run, find_run, runs_folder
from kgrec.runs.publish import lists_table
from kgrec.store import open_graph
from kgrec.text import text_vectors

MAX_SHOWN_IDS: Final = 5
"""Ids of a finding that a person is shown."""


def audit_leakage(graph: str, run: str | None = None, runs: str | Path | None = None) -> pd.DataFrame:
    """Return every row that shows a stage of a run to know test behaviors, or later ones than it may.

    The run is read from its folder, its cut made again from the graph, and every stage repeated without the test
    behaviors; see `kgrec.evaluation.leakage.leaks`. One stage more, "recommendations", is whether the lists that the
    run keeps are what its model says.

    Args:
        graph: URI of the graph; it is only read.
        run: name of a run; the newest if not given.
        runs: folder of runs; beside the graph if not given.

    Returns:
        Columns stage, kind, id, detail; no row where nothing leaks.

    Raises:
        RunError: there is no such run.
        UsageError: the run holds nothing out, or the graph has changed since.
    """
    audited_run = find_run(runs_folder(graph, runs), run)
    split = _cut_of(graph, audited_run)
    model = Recommender.load(audited_run.folder)
    rows = leaks(split, model._trained, model.config, partial(_encoded, model), "train+valid")
    lists = _in_lists(model, audited_run.table("recommendations").to_pandas())
    return pd.concat([rows, lists], ignore_index=True) if len(rows) else lists


def audit_data(graph: str) -> pd.DataFrame:
    """Return what is odd in a graph, one row each; see `kgrec.data.anomalies.audit`.

    Args:
        graph: URI of the graph; it is only read.

    Returns:
        Columns level ("error", "warning" or "info"), kind, label, id, detail; no row where nothing is odd.
    """
    with open_graph(graph, read_only=True) as store:
        return audit(store.snapshot())


def summary(findings: pd.DataFrame) -> pd.DataFrame:
    """Return findings for people: one line a kind, with the number of rows, the first ids, and the first detail."""
    by = [name for name in findings.columns if name not in ("id", "detail")]
    groups = findings.groupby(by, sort=False)
    shown = groups["id"].agg(
        lambda ids: ", ".join(ids.iloc[:MAX_SHOWN_IDS]) + (" …" if len(ids) > MAX_SHOWN_IDS else "")
    )
    lines = pd.DataFrame(groups["detail"].agg(rows="size", detail="first")).assign(which=shown).reset_index()
    return lines[[*by, "rows", "which", "detail"]]


def _encoded(model: Recommender, part: GraphSnapshot) -> Vectors:
    return text_vectors(part, model._encoder, model._cache)


def _cut_of(graph: str, run: Run) -> Split:
    """Return the cut that a run was trained on."""
    snapshot = read_graph(graph)
    if "split" not in run.info:
        raise UsageError(f"{run.name} does not say how it was cut; expected a run of `kgrec train`")
    if snapshot.digest != run.info["data_digest"]:
        raise UsageError(f"{graph} has changed since run {run.name} was trained; train again: kgrec train {graph}")
    split = split_by(snapshot, run.info["split"])
    if not split.is_test.any():
        raise UsageError(f"run {run.name} holds nothing out, so nothing can leak; expected one of another split")
    return split


def _in_lists(model: Recommender, listed: pd.DataFrame) -> pd.DataFrame:
    """Find users whose list is not what the model says; another order among equal scores is the same."""
    again = model.recommend(listed["user_id"].unique(), k=int(listed["rank"].max() if len(listed) else 1))
    again = lists_table(again).to_pandas()
    both = listed.merge(again, on=["user_id", "rank"], how="outer", suffixes=("", "_again"))
    close = TOLERANCE * np.abs(again["score"]).max()
    same = np.isclose(both["score"], both["score_again"], rtol=0, atol=close)
    differ = both.loc[~same, "user_id"].unique()
    found = {"stage": "recommendations", "kind": "user", "id": differ, "detail": "its list is not what the model says"}
    return pd.DataFrame(found, columns=COLUMNS)
