"""Node texts: the sentences of a label's template, filled in from the graph."""

from __future__ import annotations

import string
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data.columns import column_numbers, is_datetime
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.text_template import BEHAVIORS, NEIGHBORS, Limits
from kgrec.text.base import CountTokens, count_words
from kgrec.text.scripts import UNSPACED

DEFAULT_MAX_NAMES = 10
"""Number of neighbors that `{RELATIONSHIP}` names if the template gives no limit."""

_WORD_END: Final = rf"( |[{UNSPACED}])"
"""The end of a word: a blank, which belongs to it, or a letter of a script without blanks, which is one by itself."""


def describe(
    snapshot: GraphSnapshot, label: str, count_tokens: CountTokens = count_words, behaviors: bool = True
) -> npt.NDArray[np.object_]:
    """Return the text of every node of a label.

    A sentence is left out for a node that lacks one of its values. `{RELATIONSHIP:limit}` names neighbors in the given
    snapshot only, so texts of a train snapshot contain no held-out interactions. Interactions with a time come latest
    first, other neighbors in node order. `{neighbours}` names the neighbors by all relationships that are not
    interactions, and `{behaviours}` lists a user's latest interactions in the order of time.

    Args:
        snapshot: the graph.
        label: one of the snapshot's labels.
        count_tokens: counts tokens for limits in tokens.
        behaviors: whether to keep the sentences about a user's behaviors; see `behavior_sentences`.

    Returns:
        str, object [nodes of the label]; "" for a node without a sentence.
    """
    text = pa.nulls(snapshot.nodes[label].num_rows, pa.string())
    left_out = () if behaviors else behavior_sentences(snapshot.schema, label)
    for sentence in (sentence for sentence in snapshot.schema.nodes[label].text if sentence not in left_out):
        text = _appended(text, _filled(snapshot, label, sentence, count_tokens))
    return np.asarray(pc.fill_null(text, "").to_numpy(zero_copy_only=False), dtype=object)


def behavior_sentences(schema: Schema, label: str) -> list[str]:
    """Return the sentences of a user label's template that name behaviors; none for other labels."""
    behaviors = {BEHAVIORS, *schema.roles.behaviours}
    return [
        sentence
        for sentence in schema.nodes[label].text
        if label in schema.roles.users and not behaviors.isdisjoint(field for _, field, _, _ in _parsed(sentence))
    ]


def latest_items(snapshot: GraphSnapshot, label: str) -> sp.csr_matrix:
    """Return the items that the behavior sentences of a user label name at most, each user's latest.

    Returns:
        1 for an item, float32 [nodes of the label, n_items]; empty for a label without such sentences.
    """
    n, fields = snapshot.nodes[label].num_rows, {BEHAVIORS, *snapshot.schema.roles.behaviours}
    sentences = behavior_sentences(snapshot.schema, label)
    specs = [spec for sentence in sentences for _, field, spec, _ in _parsed(sentence) if field in fields]
    limits = [(Limits.parse(spec or "") or Limits()).names or DEFAULT_MAX_NAMES for spec in specs]
    rows = _latest_behaviors(snapshot, label, max(limits, default=0)).drop_duplicates(["node", "item"])
    cells = rows["node"].to_numpy(), rows["item"].to_numpy()
    return sp.csr_matrix((np.ones(len(rows), np.float32), cells), shape=(n, snapshot.n_items))


def _appended(text: pa.Array, sentence: pa.Array) -> pa.Array:
    ended = pc.replace_substring_regex(text, r"([^.!?…。！？])$", r"\1.")
    return pc.coalesce(pc.binary_join_element_wise(ended, sentence, " "), text, sentence)


def _filled(snapshot: GraphSnapshot, label: str, sentence: str, count: CountTokens) -> pa.Array:
    """Return one sentence for every node, null where a value is missing."""
    n = snapshot.nodes[label].num_rows
    parts = []
    for literal, field, spec, _ in _parsed(sentence):
        parts.append(pa.repeat(pa.scalar(literal, pa.string()), n))
        if field is not None:
            parts.append(_placeholder(snapshot, label, field, Limits.parse(spec or "") or Limits(), count))
    return _tidy(pc.binary_join_element_wise(*parts, ""))


def _parsed(sentence: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """Return the parts of a sentence: literal text, and the field and limit of the placeholder after it."""
    return list(string.Formatter().parse(sentence))


def _placeholder(snapshot: GraphSnapshot, label: str, field: str, limits: Limits, count: CountTokens) -> pa.Array:
    """Return the text of a placeholder for every node, null if a node has none."""
    n_names = limits.names or DEFAULT_MAX_NAMES
    if field in snapshot.nodes[label].column_names:
        text = _values(snapshot.nodes[label].column(field).combine_chunks())
    elif field == BEHAVIORS:
        return _behaviors(snapshot, label, n_names, limits.tokens, count)
    elif field == NEIGHBORS:
        text = _all_neighbors(snapshot, label, n_names)
    else:
        text = _neighbor_names(snapshot, label, field, n_names, label in snapshot.schema.relationships[field].from_)
    return _shortened(text, limits.tokens, count) if limits.tokens else text


def _shortened(text: pa.Array, limit: int, count: CountTokens) -> pa.Array:
    """Return the first words of every text, up to `limit` tokens; null if the first word is longer."""
    words = pc.split_pattern(pc.replace_substring_regex(text, _WORD_END, "\\1\x1f"), "\x1f")
    nums, words = np.asarray(pc.list_parent_indices(words).to_numpy(), dtype=np.int64), pc.list_flatten(words)
    fits = _fits(nums, words, limit, count)
    return _tidy(pc.utf8_rtrim(_joined(nums[fits], words.filter(pa.array(fits)), len(text), ""), " ,;:"))


def _fits(nums: IntArray, words: pa.Array, limit: int, count: CountTokens) -> BoolArray:
    """Return a mask [n] of the first words of each node, up to `limit` tokens; `nums` [n] is sorted by node."""
    distinct = words.dictionary_encode()
    tokens = count(distinct.dictionary.to_pylist())[distinct.indices.to_numpy()]
    return np.asarray(pd.Series(tokens).groupby(nums).cumsum() <= limit)


def _values(column: pa.Array) -> pa.Array:
    """Return property values as readable text, null if missing."""
    if pa.types.is_list(column.type):
        nums = np.asarray(pc.list_parent_indices(column).to_numpy(), dtype=np.int64)
        return _joined(nums, _tidy(pc.list_flatten(column)), len(column))
    if is_datetime(column):
        seconds = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s")).cast(pa.string())
        return pc.replace_substring_regex(seconds, r" 00:00:00$", "")
    if pa.types.is_floating(column.type):
        finite = pc.if_else(pc.is_finite(column), column, None)
        return pc.replace_substring_regex(finite.cast(pa.string()), r"\.0$", "")
    return _tidy(column.cast(pa.string()))


def _tidy(text: pa.Array) -> pa.Array:
    """Collapse white space; an empty text becomes null."""
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"\s+", " "))
    return pc.if_else(pc.equal(text, ""), None, text)


def _behaviors(snapshot: GraphSnapshot, label: str, n_names: int, tokens: int | None, count: CountTokens) -> pa.Array:
    """Return the latest interactions of every user, in the order of time: "bought A, then viewed B"."""
    rows = _latest_behaviors(snapshot, label, n_names)
    if tokens:
        verb, name = (rows[column].to_numpy(dtype=object) for column in ("verb", "name"))
        phrases = pa.array("then " + verb + " " + name + ",", pa.string())
        rows = rows[_fits(rows["node"].to_numpy(), phrases, tokens, count)]
    # Rows are newest first, so that limits drop the oldest; the text is oldest first.
    rows = rows.iloc[np.lexsort((-np.arange(len(rows)), rows["node"].to_numpy()))]
    first = rows["node"] != rows["node"].shift()
    again = ~first & (rows["verb"] == rows["verb"].shift())
    verb, name = (rows[column].to_numpy(dtype=object) for column in ("verb", "name"))
    rendered = np.where(first, "", "then ").astype(object) + np.where(again, "", verb + " ") + name
    return _joined(rows["node"].to_numpy(), pa.array(rendered, pa.string()), snapshot.nodes[label].num_rows)


def _latest_behaviors(snapshot: GraphSnapshot, label: str, limit: int) -> pd.DataFrame:
    """Return at most `limit` interactions of every user of a label as rows of node, verb and name, newest first."""
    behaviors, n = snapshot.behaviors, snapshot.nodes[label].num_rows
    verbs = np.array([_in_words(type_) for type_ in snapshot.schema.roles.behaviours], dtype=object)
    names = _tidy(pa.array(snapshot.item_names)).to_numpy(zero_copy_only=False)
    node = behaviors.user_num - snapshot.users.nums(snapshot.ids(label)[:1].to_pylist())
    columns = {"node": node, "item": behaviors.item_num, "verb": verbs[behaviors.type_num]}
    rows = pd.DataFrame(columns | {"name": names[behaviors.item_num]})
    order = np.lexsort((behaviors.item_num, behaviors.type_num, -np.nan_to_num(behaviors.time), node))
    rows = rows.iloc[order]
    rows = rows[rows["node"].between(0, n - 1) & rows["name"].notna()]
    return rows.drop_duplicates(["node", "item", "verb"]).groupby("node").head(limit)


def _all_neighbors(snapshot: GraphSnapshot, label: str, limit: int) -> pa.Array:
    """Return the neighbors by relationships other than interactions: "directed by: A, B; inverse of based on: C"."""
    text = pa.nulls(snapshot.nodes[label].num_rows, pa.string())
    for type_ in (t for t in snapshot.schema.relationships if t not in snapshot.schema.roles.behaviours):
        for outgoing, what in ((True, f"{_in_words(type_)}: "), (False, f"inverse of {_in_words(type_)}: ")):
            names = _neighbor_names(snapshot, label, type_, limit, outgoing)
            named = pc.binary_join_element_wise(what, names, "")
            text = pc.coalesce(pc.binary_join_element_wise(text, named, "; "), text, named)
    return text


def _in_words(type_: str) -> str:
    return type_.replace("_", " ").lower()


def _neighbor_names(snapshot: GraphSnapshot, label: str, type_: str, limit: int, outgoing: bool) -> pa.Array:
    own, other = (0, 2) if outgoing else (2, 0)
    edge_types = [t for t in snapshot.edges if t[1] == type_ and t[own] == label]
    n = snapshot.nodes[label].num_rows
    if not edge_types:
        return pa.nulls(n, pa.string())
    labels = list(dict.fromkeys(t[other] for t in edge_types))
    names = pa.concat_arrays([_tidy(snapshot.names(x)) for x in labels])
    starts = dict(zip(labels, np.cumsum([0, *(snapshot.nodes[x].num_rows for x in labels)]).tolist(), strict=False))
    edges = pd.concat([_neighbors(snapshot, t, outgoing, starts[t[other]]) for t in edge_types])
    edges = edges[names.is_valid().to_numpy(zero_copy_only=False)[edges["neighbor"]]]
    edges = edges.iloc[np.lexsort([edges["neighbor"], -edges["time"], edges["node"]])]
    edges = edges.drop_duplicates(["node", "neighbor"]).groupby("node").head(limit)
    return _joined(edges["node"].to_numpy(), names.take(pa.array(edges["neighbor"])), n)


def _neighbors(snapshot: GraphSnapshot, edge_type: EdgeType, outgoing: bool, start: int) -> pd.DataFrame:
    """Return one edge type as rows of node, neighbor (numbered from `start`) and time (0 if it has none)."""
    edges = snapshot.edges[edge_type]
    ends = (edges.src_num, edges.dst_num) if outgoing else (edges.dst_num, edges.src_num)
    return pd.DataFrame({"node": ends[0], "neighbor": ends[1] + start, "time": _times(snapshot, edge_type)})


def _times(snapshot: GraphSnapshot, edge_type: EdgeType) -> DoubleArray:
    behavior = snapshot.schema.roles.behaviours.get(edge_type[1])
    if behavior is None or behavior.time is None:
        return np.zeros(len(snapshot.edges[edge_type]))
    return column_numbers(snapshot.edges[edge_type].table.column(behavior.time))


def _joined(nums: IntArray, words: pa.Array, n: int, separator: str = ", ") -> pa.Array:
    """Join the words of each node (`nums`, ascending); null for a node without words."""
    given = words.is_valid()
    nums, words = nums[given.to_numpy(zero_copy_only=False)], words.filter(given)
    offsets = np.searchsorted(nums, np.arange(n + 1)).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words), separator)
    return pc.if_else(pc.equal(joined, ""), None, joined)
