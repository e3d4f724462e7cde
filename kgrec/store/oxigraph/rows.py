"""Writing rows of a graph to an RDF store: new rows are added, changed rows are replaced."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.rdf_values import native
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.schema import Schema
from kgrec.data.schema_checks import PREFIXES
from kgrec.data.tables import Gaps, GraphTables
from kgrec.rdf import iris as terms
from kgrec.rdf.decode import decode
from kgrec.rdf.encode import (
    check_iris,
    edge_triples,
    has_statements,
    iri_objects,
    lines,
    literals,
    node_triples,
    schema_triple,
    statements,
    to_bytes,
)
from kgrec.rdf.encode import triples as graph_triples
from kgrec.rdf.iris import node_iris
from kgrec.rdf.triples import Triples, parse
from kgrec.store.merge import changes, merge

if TYPE_CHECKING:
    import pyoxigraph

Lines = Iterable[pa.ChunkedArray]


def stored_schema(store: pyoxigraph.Store) -> Schema | None:
    """Return the schema of the graph, or None if none was declared."""
    import pyoxigraph as ox

    quads = store.quads_for_pattern(None, ox.NamedNode(terms.SCHEMA), None, ox.DefaultGraph())
    text = next((native(quad.object) for quad in quads), None)
    return None if text is None else Schema.parse(text, where="graph")


def declare(store: pyoxigraph.Store, schema: Schema) -> Schema:
    """Merge a schema into the graph's schema and return the result.

    Raises:
        StoreError: the schema contradicts the graph's.
    """
    import pyoxigraph as ox

    there = stored_schema(store)
    merged = merge(there, schema)
    if merged != there:
        if there is not None:
            _remove(store, schema_triple(there))
        store.load(schema_triple(merged).encode(), ox.RdfFormat.N_TRIPLES)
    return merged


def upsert(store: pyoxigraph.Store, schema: Schema, there: GraphTables | None, tables: GraphTables) -> None:
    """Add rows with new keys and replace changed rows; values that are not given stay.

    Args:
        store: the store version to write to.
        schema: schema of the graph, which includes the schema of `tables`.
        there: tables of the graph; None if the graph is empty.
        tables: checked tables to write.

    Raises:
        StoreError: an IRI is the key of nodes of two labels.
    """
    check_iris(there, tables)
    new: list[pa.ChunkedArray] = []
    for label, table in tables.nodes.items():
        old = there.nodes.get(label) if there else None
        added, before, after = _difference(old, table, [schema.nodes[label].key], tables.gaps.get(label))
        _remove_lines(store, node_triples(schema, label, before))
        new += itertools.chain(node_triples(schema, label, added), node_triples(schema, label, after))
    for edge_type, table in tables.edges.items():
        old = there.edges.get(edge_type) if there else None
        keys = ["src", "dst", *schema.edge_key(edge_type[1])]
        added, before, after = _difference(old, table, keys, tables.gaps.get(edge_type))
        _remove_lines(store, edge_triples(schema, edge_type, before))
        new += itertools.chain(edge_triples(schema, edge_type, added), edge_triples(schema, edge_type, after))
    _add(store, b"".join(map(bytes, to_bytes(new))))


def loaded(store: pyoxigraph.Store) -> Triples:
    """Return the triples of the loaded data, without recommendations and vectors."""
    import pyoxigraph as ox

    return parse([store.dump(format=ox.RdfFormat.N_TRIPLES, from_graph=ox.DefaultGraph()) or b""])


def replace_graph(store: pyoxigraph.Store, graph: pyoxigraph.NamedNode, parts: list[pa.ChunkedArray]) -> None:
    """Replace the contents of a named graph by lines of N-Triples."""
    import pyoxigraph as ox

    store.remove_graph(graph)
    store.bulk_load(b"".join(map(bytes, to_bytes(parts))), ox.RdfFormat.N_TRIPLES, to_graph=graph)


def settle(store: pyoxigraph.Store, schema: Schema) -> None:
    """Rename nodes that a SPARQL update added to the IRIs derived from their keys, so that later loads find them.

    Raises:
        DataError: the triples do not fit the schema; the error lists all problems.
    """
    import pyoxigraph as ox

    triples = loaded(store)
    tables = decode(triples, schema)
    misnamed = _misnamed(triples, tables)
    for iri in misnamed:
        node, graph = ox.NamedNode(iri[1:-1]), ox.DefaultGraph()
        for subject, object_ in ((node, None), (None, node)):
            for quad in list(store.quads_for_pattern(subject, None, object_, graph)):
                store.remove(quad)
    if misnamed:
        _add(store, b"".join(map(bytes, to_bytes(list(graph_triples(tables))))))


def _misnamed(triples: Triples, tables: GraphTables) -> list[str]:
    """Return the IRIs of nodes and relationships that differ from the IRIs derived from their keys."""
    schema = tables.schema
    known = [node_iris(schema, label, t.column(schema.nodes[label].key)) for label, t in tables.nodes.items()]
    known += [statements(schema, t, table) for t, table in tables.edges.items() if has_statements(schema, t[1])]
    flat = pa.chunked_array([chunk for iris in known for chunk in iris.chunks], pa.string())
    classes = pa.array([f"<{terms.term(schema, label)}>" for label in schema.nodes], pa.large_string())
    typed = pa.array(triples.rows(terms.TYPE))
    nodes = triples.subjects.take(typed).filter(pc.is_in(triples.objects.take(typed), value_set=classes))
    edges = triples.subjects.take(pa.array(triples.rows(terms.SUBJECT)))
    subjects = pa.chunked_array([*nodes.chunks, *edges.chunks], pa.large_string())
    iris = iri_objects(flat).cast(pa.large_string())
    return list(subjects.filter(pc.invert(pc.is_in(subjects, value_set=iris))).unique().to_pylist())


def recommendation_lines(
    schema: Schema, users: pa.ChunkedArray, items: pa.ChunkedArray, recommendations: pa.Table
) -> list[pa.ChunkedArray]:
    """Return recommendations as lines of N-Triples: a direct triple, and a node with score, rank and shares."""
    kgrec = PREFIXES["kgrec"]
    rank = recommendations.column("rank").cast(pa.string())
    users_steps = terms.escaped(recommendations.column("user_id").cast(pa.string()))
    iris = pc.binary_join_element_wise(f"{schema.rdf.base}RECOMMENDED", users_steps, rank, "/")
    ends = iri_objects(items)
    parts = [lines(users, kgrec + "RECOMMENDED", ends)]
    parts += [lines(iris, terms.SUBJECT, iri_objects(users)), lines(iris, terms.OBJECT, ends)]
    parts += [lines(iris, kgrec + "rank", literals(recommendations.column("rank"), "int"))]
    for name in ("score", *SHARE_COLUMNS):
        column = recommendations.column(name).cast(pa.float64())
        parts.append(lines(iris, kgrec + name, literals(column, "float")))
    return parts


def _difference(
    there: pa.Table | None, rows: pa.Table, keys: list[str], gaps: Gaps | None
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the new rows, the stored values of the changed rows, and their new values."""
    nothing = rows.slice(0, 0)
    if there is None:
        return rows, nothing, nothing
    new, after = changes(there, rows, keys, gaps)
    there = there.select([name for name in rows.column_names if name in there.column_names])
    return new, changes(after, there, keys)[1] if after.num_rows else nothing, after


def _add(store: pyoxigraph.Store, text: bytes) -> None:
    import pyoxigraph as ox

    store.bulk_load(text, ox.RdfFormat.N_TRIPLES, lenient=True)


def _remove_lines(store: pyoxigraph.Store, parts: Lines) -> None:
    for text in to_bytes(list(parts)):
        _remove(store, bytes(text).decode())


def _remove(store: pyoxigraph.Store, text: str) -> None:
    store.update(f"DELETE DATA {{ {text} }}")
