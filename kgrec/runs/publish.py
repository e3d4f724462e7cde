"""Publication: write the recommendations, text vectors and name of a run into the graph, atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.array_layout import check_rows
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.errors import RunError
from kgrec.runs.content_checks import LISTS
from kgrec.runs.folder import Run
from kgrec.runs.publications import Action, append, reconcile
from kgrec.runs.untrusted_files import using
from kgrec.store.base import GraphStore, NodeVectors


def publish(store: GraphStore, root: Path, run: Run, k: int, action: Action) -> dict[str, Any]:
    """Write a run's text vectors and its lists into a graph atomically, and record the publication.

    Items that users already have in the graph are left out: the run may have held them out for evaluation, or the
    interactions are newer than the run.

    Args:
        store: the graph.
        root: folder of the graph's runs.
        run: the run.
        k: length of each list.
        action: command to record.

    Raises:
        RunError: files of the run are missing.
        StoreError: the graph cannot be written, or lacks a user or an item of the run; the graph is unchanged.
        DataError: links between user accounts contradict each other.
    """
    check_complete(run)
    listed = new_to_users(run.table("recommendations"), merge_linked_users(store.snapshot()))
    listed = listed.filter(pc.less_equal(listed.column("rank"), k))
    vectors = vectors_of(run)
    reconcile(root, store.published())
    store.publish(listed, run.name, vectors)
    append(root, run.name, action)
    return {"run": run.name, "recommendations": listed.num_rows, "vectors": list(vectors)}


def lists_table(listed: pd.DataFrame) -> pa.Table:
    """Return the result of `Recommender.recommend` as a table with the columns and types of a run."""
    ids = {name: listed[name].astype(str) for name in ("user_id", "item_id") if listed[name].dtype != object}
    return pa.Table.from_pandas(listed.assign(**ids), schema=LISTS, preserve_index=False)


def new_to_users(listed: pa.Table, graph: GraphSnapshot) -> pa.Table:
    """Return lists without the items that users have in the graph; ranks are renumbered from 1."""
    user_num = graph.user_nums(listed.column("user_id").to_numpy())
    item_num = graph.items.nums(listed.column("item_id").to_numpy())
    had = graph.interactions.tocoo()
    taken = np.isin(user_num * graph.n_items + item_num, had.row.astype(np.int64) * graph.n_items + had.col)
    new = ~taken | (user_num < 0) | (item_num < 0)
    frame = listed.filter(pa.array(new)).to_pandas()
    frame["rank"] = frame.groupby("user_id", sort=False).cumcount() + 1
    return lists_table(frame)


def vectors_of(run: Run) -> NodeVectors:
    """Return the text vectors of a run: label → (node keys, float32 [nodes, d])."""
    schema = Schema.from_dict(run.info["schema"])
    nodes = {label: run.table(f"nodes-{label}") for label in run.info["labels"]}
    return {
        label: (nodes[label].column(schema.nodes[label].key).combine_chunks(), vectors)
        for label, vectors in checked_vectors(run, {x: table.num_rows for x, table in nodes.items()}).items()
    }


def checked_vectors(run: Run, rows: Mapping[str, int]) -> Vectors:
    """Return the text vectors of a run: label → float32 [nodes of the label, d].

    Args:
        run: the run.
        rows: label → number of nodes.

    Raises:
        RunError: they are missing or damaged, or do not match the nodes.
    """
    vectors = run.arrays("vectors")
    with using(run.folder / "arrays" / "vectors.safetensors"):
        if unknown := vectors.keys() - rows.keys():
            raise ValueError(f"found vectors of {', '.join(sorted(unknown))}; expected labels among {', '.join(rows)}")
        for label, matrix in vectors.items():
            check_rows(label, matrix, rows[label])
        if len({matrix.shape[1] for matrix in vectors.values()}) > 1:
            raise ValueError("found vectors of several lengths; expected one")
    return vectors


def check_complete(run: Run) -> None:
    """Check that every file of a run exists.

    Raises:
        RunError: files are missing; names the first three.
    """
    tables = ["recommendations", *(f"nodes-{label}" for label in run.info["labels"])]
    tables += [f"edges-{number}" for number in range(len(run.info["edge_types"]))]
    files = [f"tables/{name}.parquet" for name in tables]
    arrays = [
        "vectors",
        "feedback",
        *(f"signal-{name}" for name in run.info["settings"]),
        *(name for name in ("tuned", "second") if run.info.get(name)),
    ]
    arrays += [
        f"single-domain-{i}-{name}" for i, names in enumerate(run.info["single_domain"].values()) for name in names
    ]
    arrays += [f"cold-start-{name}" for name in run.info.get("cold_start", {})]
    files += [f"arrays/{name}.safetensors" for name in arrays]
    gone = [name for name in files if not (run.folder / name).is_file()]
    if gone:
        raise RunError(
            f"run {run.name} cannot be published: {', '.join(gone[:3])} of {run.folder} "
            f"{'is' if len(gone) == 1 else 'are'} missing. Restore the folder, or choose another run"
        )
