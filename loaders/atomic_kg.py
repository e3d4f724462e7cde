"""Knowledge-graph triples of atomic files as edges; an item linked to an entity replaces that entity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.columns import to_mask
from kgrec.data.schema import MAX_WRITTEN_TYPES, Schema
from kgrec.data.schema_parts import EdgeType, RelationshipType
from kgrec.errors import DataError, Problem, near_matches
from kgrec.rdf import iris
from loaders.atomic_files import AtomicFiles, problem_at
from loaders.atomic_schema import SchemaNames
from loaders.names import IRI, identifiers


def item_ids(files: AtomicFiles) -> pa.ChunkedArray:
    """Return the ids of all items, starting with those of the .item file."""
    columns = [part.table.column("item_id") for part in (files.item, files.inter) if part]
    return pc.unique(pa.chunked_array([c for column in columns for c in column.chunks], pa.string()).drop_null())


def relation_types(files: AtomicFiles, named: SchemaNames) -> dict[str, str]:
    """Return relation id → relationship type for every relation of the triples.

    Raises:
        DataError: there are more relations than a store supports relationship types.
    """
    if files.kg is None:
        return {}
    relations = pc.unique(files.kg.table.column("relation_id"))
    if len(relations) > MAX_WRITTEN_TYPES:
        expected = f"at most {MAX_WRITTEN_TYPES}; leave out or join rare ones"
        problem = Problem(str(files.kg.path), f"{len(relations):,} relations", expected, field="relation_id")
        raise DataError([*files.problems, problem])
    return identifiers(relations.to_pylist(), named.taken)


def relation_edges(files: AtomicFiles, named: SchemaNames) -> dict[EdgeType, pa.Table]:
    """Return edge type → its triples, as a table with the columns `src` and `dst`."""
    if files.kg is None or named.entity is None:
        return {}
    types, edges = relation_types(files, named), {}
    for name, rows in _with_items(files, named.item, named.entity).groupby(["relation_id", "src_label", "dst_label"]):
        relation, src, dst = (str(part) for part in name)
        ends = {end: pa.array(rows[end], pa.string()) for end in ("src", "dst")}
        edges[src, types[relation], dst] = pa.table(ends)
    return edges


def relationships(edges: Mapping[EdgeType, pa.Table], named: SchemaNames) -> dict[str, RelationshipType]:
    """Return the relationship types of edges, each between the labels that occur in the data."""
    labels = [label for label in (named.item, named.entity) if label]
    types = {}
    for type_ in dict.fromkeys(type_ for _, type_, _ in edges):
        sources, targets = {src for src, t, _ in edges if t == type_}, {dst for _, t, dst in edges if t == type_}
        ends = {"from": [x for x in labels if x in sources], "to": [x for x in labels if x in targets]}
        types[type_] = RelationshipType.model_validate(ends)
    return types


def check_relations(files: AtomicFiles, named: SchemaNames, schema: Schema) -> None:
    """Raise a DataError that lists every relation without a relationship type in the schema."""
    missing = {r: t for r, t in relation_types(files, named).items() if t not in schema.relationships}
    if missing and files.kg:
        column = files.kg.table.column("relation_id")
        raise DataError(
            [
                *files.problems,
                *(
                    problem_at(
                        files.kg.origins,
                        pc.index(column, relation).as_py(),
                        f"relation {relation!r}",
                        f"a relationship type {type_} in the schema{near_matches(type_, schema.relationships)}",
                        "relation_id",
                    )
                    for relation, type_ in missing.items()
                ),
            ]
        )


def entity_table(edges: Mapping[EdgeType, pa.Table], label: str, schema: Schema) -> pa.Table:
    """Return the nodes of all entities that are not items, with readable names if the schema declares a name."""
    ends = [t.column("src") for (src, _, _), t in edges.items() if src == label]
    ends += [t.column("dst") for (_, _, dst), t in edges.items() if dst == label]
    ids = pc.unique(pa.chunked_array([chunk for end in ends for chunk in end.chunks], pa.string()))
    columns = {schema.nodes[label].key: ids}
    if "name" in schema.nodes[label].properties:
        columns["name"] = _entity_names(pa.chunked_array([ids]))
    return pa.table(columns)


def _entity_names(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.match_substring_regex(ids, IRI), iris.readable(ids), ids)


def _with_items(files: AtomicFiles, item: str, entity: str) -> pd.DataFrame:
    """Return the triples with the label and the node id of both ends."""
    assert files.kg is not None
    triples: pd.DataFrame = files.kg.table.to_pandas()
    links = _links(files)
    for end, column in (("src", "head_id"), ("dst", "tail_id")):
        triples = triples.merge(links.rename(columns={"entity_id": column, "item_id": end}), how="left", on=column)
        triples[f"{end}_label"] = np.where(triples[end].notna(), item, entity)
        triples[end] = triples[end].fillna(triples[column])
    return triples


def _links(files: AtomicFiles) -> pd.DataFrame:
    """Return entity → item, without links of items that occur in no other file."""
    if files.link is None:
        return pd.DataFrame({"item_id": [], "entity_id": []}, dtype="str")
    table = files.link.table.select(["item_id", "entity_id"])
    known = to_mask(pc.is_in(table.column("item_id"), value_set=item_ids(files)))
    links: pd.DataFrame = table.filter(pa.array(known)).to_pandas()
    return links.drop_duplicates()
