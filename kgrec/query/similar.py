"""Vector search on a graph: the nearest nodes to a text or to another node."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kgrec._util.types import FloatArray
from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.errors import UnknownUser, UsageError, near_matches
from kgrec.runs.folder import find_run, root_of
from kgrec.runs.save_load import load_tuned
from kgrec.store.base import GraphStore
from kgrec.text import TextEncoder, encoder_of
from kgrec.text.encoder_pair import NO_MODEL, EncoderPair, model_of


def nearest_nodes(
    store: GraphStore,
    text: str | None = None,
    node: str | None = None,
    label: str | None = None,
    k: int = 10,
    *,
    encoder: TextEncoder | None = None,
) -> pd.DataFrame:
    """Return the nodes of a label whose vectors are most similar to a text, or to another node of the label.

    Args:
        store: a graph with published vectors.
        text: text to compare the nodes with; give this or `node`.
        node: key of a node to compare the others with.
        label: label to search; default: the first item label.
        k: number of nodes.
        encoder: encodes `text`; default: the encoder of the live run.

    Returns:
        Columns id, name, score (cosine), sorted by descending score.

    Raises:
        UsageError: neither or both of `text` and `node`, a blank text, an unknown label or node, or k below 1.
        StoreError: the graph is empty, or the label has no vectors yet.
        RunError: the live run is damaged, or its text model is not installed.
    """
    if k < 1:
        raise UsageError(f"k is too small: {k}. Expected at least 1")
    label = _known_label(store.require_schema(), label)
    if text is not None and node is None:
        if not text.strip():
            raise UsageError(f"text={text!r}. Expected words, such as text='robots in space'")
        query = (encoder or _encoder_of(store)).encode([text])[0]
        return store.nearest(label, _beside_given(store, label, query), k)
    if node is None or text is not None:
        raise UsageError(
            f"found {'neither' if text is None else 'both'} a text {'nor' if text is None else 'and'} a node. "
            "Expected one of them"
        )
    others = store.nearest(label, _vector_of(store, label, str(node)), k + 1)
    return others[others["id"] != str(node)].head(k).reset_index(drop=True)


def _known_label(schema: Schema, label: str | None) -> str:
    if label is None:
        return schema.roles.items[0]
    if label not in schema.nodes:
        near = near_matches(label, schema.nodes)
        raise UsageError(f"unknown label {label!r}. Expected one of {', '.join(schema.nodes)}{near}")
    return label


def _vector_of(store: GraphStore, label: str, node: str) -> FloatArray:
    vector = store.vector(label, node)
    if vector is not None:
        return vector
    ids = set(store.ids(label).to_pylist())
    if node in ids:
        raise UsageError(f"{label} {node!r} has no vector: its text is empty, or it was added after the live run")
    if label in store.require_schema().roles.users:
        raise UnknownUser([node], ids, f"No {label} of the graph has this key.")
    raise UsageError(f"unknown {label}: {node!r}{near_matches(node, ids)}")


def _beside_given(store: GraphStore, label: str, query: FloatArray) -> FloatArray:
    """Return a text's vector, padded with zeros if nodes have given vectors, which follow their text's vector."""
    if not any("vector" in node.properties.values() for node in store.require_schema().nodes.values()):
        return query
    known = (store.vector(label, node) for node in store.ids(label).to_pylist())
    length = next((len(vector) for vector in known if vector is not None), len(query))
    return np.pad(query, (0, max(0, length - len(query))))


def _encoder_of(store: GraphStore) -> TextEncoder:
    """Return the encoder of the live run, or the packaged one if the run is not beside the graph.

    Raises:
        RunError: the run is damaged, or its text model is not installed.
        UsageError: the run has no text model.
    """
    published, root = store.published(), root_of(store.uri)
    if published is None or not (root / published).exists():
        return encoder_of(None, "query")
    run = find_run(root, published)
    config = Config.from_run(run.info["config"])
    static, chosen = run.choices.get("static_text", False), model_of(run.choices)
    if chosen == NO_MODEL:
        raise UsageError(f"{run.name} has no text vectors. {run.choices['text_model']['reason']}")
    return EncoderPair(None, config.encoder, False, load_tuned(run), static, chosen).query
