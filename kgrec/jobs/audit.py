"""Audits: test leakage in a run, and anomalies in a graph."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from kgrec.data.anomalies import audit
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.evaluation.leakage import COLUMNS, TOLERANCE, leaks
from kgrec.jobs.evaluate import split_of
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run, runs_folder
from kgrec.runs.publish import lists_table
from kgrec.store import open_graph
from kgrec.text import text_vectors

MAX_SHOWN_IDS: Final = 5
"""Maximum number of ids in a summary of findings."""


def audit_leakage(graph: str, run: str | None = None, runs: str | Path | None = None) -> pd.DataFrame:
    """Return a row for each leak: a stage of a run that used test behaviors, or behaviors later than it may.

    The audit splits the graph as the run did and repeats each stage without the test behaviors; see
    `kgrec.evaluation.leakage.leaks`. The stage "recommendations" compares the lists of the run with its model's.

    Args:
        graph: URI of the graph; read only.
        run: name of a run; default: the newest.
        runs: folder of runs; default: beside the graph.

    Returns:
        Columns stage, kind, id, detail; no row without leakage.

    Raises:
        RunError: the run does not exist.
        UsageError: the run has no test split, or the graph has changed since it was trained.
    """
    audited_run = find_run(runs_folder(graph, runs), run)
    split = split_of(graph, audited_run)
    model = Recommender.load(audited_run.folder)
    rows = leaks(split, model._trained, model.config, partial(_encoded, model), "train+valid")
    lists = _in_lists(model, audited_run.table("recommendations").to_pandas())
    return pd.concat([rows, lists], ignore_index=True) if len(rows) else lists


def audit_data(graph: str) -> pd.DataFrame:
    """Return the anomalies of a graph, one per row; see `kgrec.data.anomalies.audit`.

    Args:
        graph: URI of the graph; read only.

    Returns:
        Columns level ("error", "warning" or "info"), kind, label, id, detail; no row without anomalies.
    """
    with open_graph(graph, read_only=True) as store:
        return audit(store.snapshot())


def summary(findings: pd.DataFrame) -> pd.DataFrame:
    """Return findings with one row per kind: number of rows, first ids, and first detail."""
    by = [name for name in findings.columns if name not in ("id", "detail")]
    groups = findings.groupby(by, sort=False)
    shown = groups["id"].agg(
        lambda ids: ", ".join(ids.iloc[:MAX_SHOWN_IDS]) + (" …" if len(ids) > MAX_SHOWN_IDS else "")
    )
    lines = pd.DataFrame(groups["detail"].agg(rows="size", detail="first")).assign(which=shown).reset_index()
    return lines[[*by, "rows", "which", "detail"]]


def _encoded(model: Recommender, part: GraphSnapshot) -> Vectors:
    return text_vectors(part, model._encoder, model._cache)


def _in_lists(model: Recommender, listed: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each user whose stored list differs from the model's; ties may be ordered differently."""
    computed = model.recommend(listed["user_id"].unique(), k=int(listed["rank"].max() if len(listed) else 1))
    computed = lists_table(computed).to_pandas()
    both = listed.merge(computed, on=["user_id", "rank"], how="outer", suffixes=("", "_computed"))
    tolerance = TOLERANCE * np.abs(computed["score"]).max()
    is_same = np.isclose(both["score"], both["score_computed"], rtol=0, atol=tolerance)
    users = both.loc[~is_same, "user_id"].unique()
    detail = "stored list differs from the model's"
    return pd.DataFrame({"stage": "recommendations", "kind": "user", "id": users, "detail": detail}, columns=COLUMNS)
