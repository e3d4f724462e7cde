"""Leaks of test interactions planted into one stage of training, which the leakage audit must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kgrec import recommender
from kgrec.config import Config
from kgrec.data.histories import sequences, strengths, user_histories
from kgrec.data.schema import Schema
from kgrec.data.split import Split, by_given
from kgrec.data.tables import GraphTables
from kgrec.jobs.audit import audit_leakage
from kgrec.jobs.train import train_run
from kgrec.signals.cf import ease, ials, item_transitions
from kgrec.signals.cf.item_knn import ItemKNN
from kgrec.signals.cf.popularity import Popularity
from kgrec.signals.content import tfidf
from kgrec.signals.graph import gnn_training, metapaths
from kgrec.signals.graph.adjacency import Adjacency
from kgrec.store import open_graph
from kgrec.testing.graphs import LIKED, two_communities
from kgrec.text import text_vectors
from kgrec.training import estimator
from kgrec.training import pipeline as training

Plant = Callable[[pytest.MonkeyPatch, Split], None]


def stored(tmp_path: Path, tables: GraphTables) -> tuple[str, Split]:
    """Write tables into a new graph; return its path and its split."""
    graph = tmp_path / "shop.lbug"
    with open_graph(graph, create=True) as store:
        store.write(tables)
        return str(graph), by_given(store.snapshot())


def audited(
    tmp_path: Path,
    signals: Any,
    plant: Plant = lambda patch, split: None,
    tables: GraphTables | None = None,
    split: str = "given",
) -> pd.DataFrame:
    """Train a run with a planted leak, and return the findings of the audit."""
    graph, cut = stored(tmp_path, tables or two_communities(seed=1))
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, cut)
        train_run(graph, Config(signals=signals, budget="1s"), split=split, k=5)
    return audit_leakage(graph)


def fit_on_everything(kind: Any) -> Plant:
    """Return a leak that fits a class of signals on the whole graph."""
    fit = kind.fit

    def plant(patch: pytest.MonkeyPatch, split: Split) -> None:
        patch.setattr(kind, "fit", lambda self, train, vectors, seed=0: fit(self, split.graph, vectors, seed))
        # Trying inference parameters would rebuild the history from the train part, and remove the leak.
        patch.setattr(kind, "inference_params", frozenset())

    return plant


def messages(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Send messages over the whole graph."""
    of = Adjacency.from_snapshot
    patch.setattr(Adjacency, "from_snapshot", classmethod(lambda cls, train, *weights: of(split.graph, *weights)))


def reverse_messages(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Send messages of test interactions from items to users only: the other direction has weight 0."""
    of, graph = Adjacency.from_snapshot, split.graph

    def planted(cls: Any, train: Any, *weights: Any) -> Adjacency:
        both, test = of(graph, *weights), split.test
        row = np.repeat(np.arange(graph.n_nodes), np.diff(both.indptr))
        forward = graph.user_nodes[test.user_num] * graph.n_nodes + graph.item_nodes[test.item_num]
        none = np.isin(row * graph.n_nodes + both.indices, forward)
        edge = np.where(none, len(both.weight), both.edge)
        return replace(both, edge=edge, weight=np.append(both.weight, np.float32(0)))

    patch.setattr(Adjacency, "from_snapshot", classmethod(planted))


def positives(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Train the graph network on test interactions too."""
    batches = gnn_training.batches  # type: ignore[attr-defined]
    patch.setattr(gnn_training, "batches", lambda interactions, *rest: batches(split.graph.interactions, *rest))


def matrix(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Compute EASE from the whole graph."""
    patch.setattr(ease, "user_histories", lambda train, *rest, **named: user_histories(split.graph, *rest, **named))


def factors(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Factorize the whole graph."""
    patch.setattr(ials, "strengths", lambda train, *rest: strengths(split.graph, *rest))


def order(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Read the order of test interactions too."""
    patch.setattr(item_transitions, "sequences", lambda train: sequences(split.graph))


def kept_history(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Keep the histories of the whole graph."""
    take = ItemKNN._bind
    patch.setattr(ItemKNN, "_bind", lambda self, train, learned: take(self, split.graph, learned))


def read_history(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Score with the histories of the whole graph."""
    patch.setattr(tfidf, "user_histories", lambda train, *rest, **named: user_histories(split.graph, *rest, **named))


def weights_of_paths(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Learn weights of meta-paths from test interactions too."""
    learn = metapaths.learn_weights  # type: ignore[attr-defined]
    patch.setattr(
        metapaths, "learn_weights", lambda features, _, *rest: learn(features, split.graph.interactions, *rest)
    )


def rows(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Return the whole graph as the train part."""
    patch.setattr(Split, "train", property(lambda self: self.graph))


def user_text(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Write the texts of users from the whole graph."""
    patch.setattr(estimator, "text_vectors", lambda _, *rest: text_vectors(split.graph, *rest))


def validation_sets(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Tune on the test interactions."""
    holdouts = training.validation_sets  # type: ignore[attr-defined]

    def planted(train: Any, _: Any, *rest: Any, **named: Any) -> Any:
        return holdouts(train, split.test, *rest, **named)

    patch.setattr(training, "validation_sets", planted)


def blend(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Learn the blend from test interactions too."""
    learn = training.learn_blends  # type: ignore[attr-defined]
    test = split.graph.pairs(split.test)

    def planted(state: Any) -> Any:
        validation = [
            replace(holdout, relevant=holdout.relevant + test[holdout.user_num][:, holdout.item_num])
            for holdout in state.validation
        ]
        return learn(replace(state, validation=validation))

    patch.setattr(training, "learn_blends", planted)


def lists(patch: pytest.MonkeyPatch, split: Split) -> None:
    """Raise the scores of test items in the lists."""
    recommend = recommender.Recommender.recommend

    def planted(self: Any, users: Any, k: int) -> pd.DataFrame:
        listed = recommend(self, users, k)
        right = pd.MultiIndex.from_arrays(
            [split.graph.users.ids[split.test.user_num], split.graph.items.ids[split.test.item_num]]
        )
        raised = pd.MultiIndex.from_frame(listed[["user_id", "item_id"]]).isin(right)
        return listed.assign(score=listed["score"] + raised)

    patch.setattr(recommender.Recommender, "recommend", planted)


PLANTS = {
    "rows of the graph": (rows, ("popularity", "ease"), {"graph", "text vectors", "popularity", "ease", "statistics"}),
    "a matrix": (matrix, ("popularity", "ease"), {"ease"}),
    "factors": (factors, ("popularity", "ials"), {"ials"}),
    "messages the other way": (reverse_messages, ("popularity", "lightgcn"), {"lightgcn"}),
    "order in time": (order, ("popularity", "item_transitions"), {"item_transitions"}),
    "what was read": (read_history, ("popularity", "tfidf"), {"recommendations"}),
    "weights of paths": (weights_of_paths, ("popularity", "metapaths"), {"metapaths"}),
    "a statistic": (fit_on_everything(Popularity), ("popularity", "ease"), {"popularity"}),
    "text of users": (user_text, ("popularity", "ease"), {"text vectors"}),
    "questions": (validation_sets, ("popularity", "ease", "tfidf"), {"settings", "blend"}),
    "the blend": (blend, ("popularity", "ease", "tfidf"), {"blend"}),
    "the lists": (lists, ("popularity", "ease"), {"recommendations"}),
}


def leaked_by_a_relationship(tables: GraphTables) -> tuple[GraphTables, list[str]]:
    """Return tables with two test pairs as relationships of another type, from item to user; and the pairs."""
    liked = tables.edges[LIKED].to_pandas()
    leaked = liked[liked["split"] == "test"].iloc[[2, 5]]
    data = tables.schema.to_dict()
    data["relationships"]["SEEN_BY"] = {"from": "Item", "to": "User"}
    seen_by = pa.table({"src": leaked["dst"].tolist(), "dst": leaked["src"].tolist()})
    edges = {**tables.edges, ("Item", "SEEN_BY", "User"): seen_by}
    return GraphTables(Schema.from_dict(data), tables.nodes, edges), (leaked["src"] + " " + leaked["dst"]).tolist()


def later_than_the_test(tables: GraphTables) -> tuple[GraphTables, list[str]]:
    """Return tables with one training interaction after the test interactions; and its pair."""
    liked = tables.edges[LIKED]
    time = liked.column("timestamp").to_numpy().copy()
    late = int(np.flatnonzero(np.asarray(liked.column("split")) == "train")[7])
    time[late] = 1e6
    changed = liked.set_column(liked.column_names.index("timestamp"), "timestamp", pa.array(time))
    return replace(tables, edges={**tables.edges, LIKED: changed}), [f"{liked['src'][late]} {liked['dst'][late]}"]


PLANTED_IN_DATA = {
    "a relationship, the other way": (leaked_by_a_relationship, "relationships"),
    "a later time": (later_than_the_test, "times"),
}
