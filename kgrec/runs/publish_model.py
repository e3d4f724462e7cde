"""Publication of a fitted model: it is saved as a run of the graph first, so that rollback and erasure apply to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.config import Config
from kgrec.runs.erasure_guard import erasures_blocked
from kgrec.runs.folder import Run, new_name, prepare_root, root_of
from kgrec.runs.publish import lists_table, publish
from kgrec.runs.save_load import save_model
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.job_lock import leased
from kgrec.training.pipeline import Trained


def publish_model(
    graph: GraphStore | str | Path,
    trained: Trained,
    config: Config,
    listed: pd.DataFrame,
    k: int,
    runs: str | Path | None = None,
) -> dict[str, Any]:
    """Save a model with its recommendations as a run of a graph, and publish that run.

    Args:
        graph: an open graph, or its path or URI.
        trained, config: the model and its settings.
        listed: recommendations of the model to every user.
        k: length of each published list.
        runs: folder of runs; default: beside the graph.

    Returns:
        "run", "recommendations" and "vectors", as `publish` returns.

    Raises:
        StoreLocked: another job is running on the graph.
        StoreError: the graph lacks a user or an item of the model, or cannot be written; the graph is unchanged.
        RunError: the run cannot be written.
    """
    uri = graph.uri if isinstance(graph, GraphStore) else str(graph)
    root = prepare_root(Path(runs or root_of(uri)))
    with leased(uri), _opened(graph) as store:
        return publish(store, root, _kept(root, uri, trained, config, listed), k, "publish")


def _kept(root: Path, uri: str, trained: Trained, config: Config, listed: pd.DataFrame) -> Run:
    train = trained.model.train
    summary = {
        "users": train.n_users,
        "items": train.n_items,
        "behaviors learned from": len(train.behaviors),
        "recommendations": len(listed),
        "seconds": round(sum(trained.seconds.values()), 1),
    }
    info = {"split": "none", "protocol": "as fitted", "metrics": None, "data_digest": train.digest, "summary": summary}
    with erasures_blocked(root, uri, train):
        return save_model(root / new_name(), trained, config, info, {"recommendations": lists_table(listed)})


@contextmanager
def _opened(graph: GraphStore | str | Path) -> Iterator[GraphStore]:
    if isinstance(graph, GraphStore):
        yield graph
        return
    with open_graph(graph) as store:
        yield store
