"""Loader of RecBole atomic files: a folder with NAME.inter, .item, .user, .kg, .link and .net becomes one graph.

Each .kg relation becomes a relationship type; an item linked to an entity replaces that entity; the values of a
categorical column of items or users become nodes. Without a schema, one is derived from the headers and the relations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec.data.columns import to_mask, trim_parts
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.table_rows import shown
from kgrec.data.tables import Gaps, GraphTables, Origin, TableKey, stacked
from kgrec.errors import DataError, UsageError
from loaders.atomic_files import SPLIT, AtomicFiles, AtomicTable, read_folder
from loaders.atomic_kg import check_relations, entity_table, item_ids, relation_edges, relationships
from loaders.atomic_schema import SchemaNames, base_schema, schema_names, words_of


class AtomicLoader:
    """Loads a folder of RecBole atomic files."""

    def load(self, source: str | Path, schema: Schema | None = None) -> GraphTables:
        """Read the folder `source`.

        Args:
            source: folder with the files of one data set. If benchmark files (NAME.train.inter …) exist, NAME.inter is
                ignored and the split of every behavior is the file it came from.
            schema: schema of the graph; None derives it as `derive_schema` does.

        Raises:
            DataError: a file cannot be read at all, or lists every column and relation that the schema does not have.
            SchemaError: the schema does not fit atomic files.
            UsageError: `source` is not a path.
        """
        if not isinstance(source, str | Path):
            raise UsageError(f"source={source!r}; expected the path of a folder of atomic files")
        files = read_folder(Path(source))
        return to_graph(files, schema or schema_of(files))


def derive_schema(folder: str | Path) -> Schema:
    """Return the schema that `AtomicLoader` derives for a folder, for example to write it to a file and edit it.

    Raises:
        DataError: lists every problem of every file.
    """
    files = read_folder(Path(folder))
    if files.problems:
        raise DataError(files.problems)
    return schema_of(files)


def schema_of(files: AtomicFiles) -> Schema:
    """Return the schema derived from atomic files."""
    return with_relations(files, Schema.from_dict(base_schema(files), where=files.name))


def with_relations(files: AtomicFiles, schema: Schema) -> Schema:
    """Return the schema extended by a relationship type for every undeclared relation of the knowledge graph."""
    named = schema_names(files, schema)
    return schema.with_relationships(relationships(relation_edges(files, named), named))


def to_graph(files: AtomicFiles, schema: Schema) -> GraphTables:
    """Return atomic files as the tables of a schema.

    Raises:
        DataError: lists every column and relation that the schema does not have.
        SchemaError: the schema does not fit atomic files.
    """
    named = schema_names(files, schema)
    check_relations(files, named, schema)
    triples = relation_edges(files, named)
    if files.kg and triples and not files.problems and not any(named.item in (src, dst) for src, _, dst in triples):
        notice(f"no item is an entity of {files.kg.path}; to describe items by it, add a .link file (item to entity)")
    edges = {(named.user, named.behavior, named.item): _behaviors(files, named, schema), **triples}
    edges |= _category_edges(files, named)
    users, items = _users(files, named, schema), _items(files, named, schema)
    nodes = {named.user: users[0], named.item: items[0]}
    nodes |= _category_nodes(edges, named, schema)
    gaps: dict[TableKey, Gaps] = {named.user: users[1], named.item: items[1]}
    if named.entity:
        nodes[named.entity] = entities = entity_table(triples, named.entity, schema)
        names = entities.column_names[1:]  # derived from ids: a gap, so that a graph keeps its existing names
        gaps[named.entity] = dict.fromkeys(names, np.ones(entities.num_rows, dtype=bool))
    if files.net and named.knows:
        edges[named.user, named.knows, named.user] = files.net.table.select(["source_id", "target_id"]).rename_columns(
            ["src", "dst"]
        )
    return GraphTables(schema, nodes, edges, _origins(files, named, schema), gaps=gaps, problems=files.problems)


def _users(files: AtomicFiles, named: SchemaNames, schema: Schema) -> tuple[pa.Table, Gaps]:
    ids = files.inter.table.column("user_id").chunks
    if files.net:
        ids = ids + [chunk for end in ("source_id", "target_id") for chunk in files.net.table.column(end).chunks]
    return _nodes(files.user, "user_id", pc.unique(pa.chunked_array(ids, pa.string()).drop_null()), named.user, schema)


def _items(files: AtomicFiles, named: SchemaNames, schema: Schema) -> tuple[pa.Table, Gaps]:
    table, gaps = _nodes(files.item, "item_id", item_ids(files), named.item, schema)
    n = files.item.table.num_rows if files.item else table.num_rows
    if files.item and table.num_rows > n and not files.problems:
        more, first = table.num_rows - n, shown(table.column(0)[n].as_py())
        kinds = "item is" if more == 1 else "items are"
        notice(
            f"{more:,} {kinds} not in {files.item.path}, such as {first}; new nodes have nothing but an id, nodes "
            "that the graph already has keep their properties"
        )
    return table, gaps


def _nodes(
    part: AtomicTable | None, id_column: str, ids: pa.Array, label: str, schema: Schema
) -> tuple[pa.Table, Gaps]:
    """Return the rows of a file, followed by a row with only an id for every other id in use."""
    node = schema.nodes[label]
    if part is None:
        return pa.table({node.key: ids}), {}
    columns = {node.key: part.table.column(id_column), **_property_columns(part, node.properties)}
    others = ids.filter(pc.invert(pc.is_in(ids, value_set=part.table.column(id_column))))
    return stacked([pa.table(columns), pa.table({node.key: others})])


def _property_columns(part: AtomicTable, properties: Mapping[str, str]) -> dict[str, pa.ChunkedArray]:
    there = set(part.table.column_names)
    names = [name for name in properties if name in there]
    return {name: _values(part.table.column(name), properties[name]) for name in names}


def _values(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray | pa.Array:
    if kind == "strings":
        return trim_parts(pa.chunked_array([words_of(column)]))
    return words_of(column) if kind == "vector" else column


def _behaviors(files: AtomicFiles, named: SchemaNames, schema: Schema) -> pa.Table:
    inter, properties = files.inter, schema.relationships[named.behavior].properties
    columns = {"src": inter.table.column("user_id"), "dst": inter.table.column("item_id")}
    columns |= _property_columns(inter, properties)
    split = schema.roles.behaviours[named.behavior].split
    if split and SPLIT in inter.table.column_names:
        columns[split] = inter.table.column(SPLIT)
    return pa.table(columns)


def _category_edges(files: AtomicFiles, named: SchemaNames) -> dict[EdgeType, pa.Table]:
    """Return the relationships from items and users to the words of their categorical columns."""
    owners = (
        (named.item, files.item, "item_id", named.categories),
        (named.user, files.user, "user_id", named.user_categories),
    )
    return {
        (owner, type_, label): _words(part, id_column, column)
        for owner, part, id_column, categories in owners
        if part
        for column, (type_, label) in categories.items()
    }


def _words(part: AtomicTable, id_column: str, column: str) -> pa.Table:
    words = words_of(part.table.column(column))
    ids = part.table.column(id_column).take(pc.list_parent_indices(words))
    table = pa.table({"src": ids, "dst": pc.utf8_trim_whitespace(pc.list_flatten(words))})
    return table.filter(pa.array(to_mask(pc.not_equal(table.column("dst"), "")))).drop_null()


def _category_nodes(edges: Mapping[EdgeType, pa.Table], named: SchemaNames, schema: Schema) -> dict[str, pa.Table]:
    labels = {label for _, label in [*named.categories.values(), *named.user_categories.values()]}
    ends: dict[str, list[pa.Array]] = {label: [] for label in labels}
    for (_, _, label), table in edges.items():
        if label in labels:
            ends[label] += table.column("dst").chunks
    return {
        label: pa.table({schema.nodes[label].key: pc.unique(pa.chunked_array(chunks, pa.string()))})
        for label, chunks in sorted(ends.items())
    }


def _origins(files: AtomicFiles, named: SchemaNames, schema: Schema) -> dict[TableKey, tuple[Origin, ...]]:
    behaviors: EdgeType = (named.user, named.behavior, named.item)
    parts: dict[TableKey, tuple[AtomicTable | None, dict[str, str]]] = {
        behaviors: (files.inter, {"src": "user_id", "dst": "item_id"}),
        named.user: (files.user, {schema.nodes[named.user].key: "user_id"}),
        named.item: (files.item, {schema.nodes[named.item].key: "item_id"}),
    }
    return {
        key: tuple(replace(origin, columns={**origin.columns, **columns}) for origin in part.origins)
        for key, (part, columns) in parts.items()
        if part
    }
