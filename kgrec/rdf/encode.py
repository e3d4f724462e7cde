"""Encoding of `GraphTables` as N-Triples: Arrow string arrays whose concatenated data is the text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError
from kgrec.rdf import iris as terms
from kgrec.rdf.iris import DATATYPES, node_iris, statement_iris, term

_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"))
_CONTROLS = [(chr(code), f"\\u{code:04x}") for code in range(32) if chr(code) not in "\n\r"]


def triples(tables: GraphTables) -> Iterator[pa.ChunkedArray]:
    """Yield the lines of N-Triples for checked tables, without the schema."""
    for label in tables.nodes:
        yield from node_triples(tables.schema, label, tables.nodes[label])
    for edge_type in tables.edges:
        yield from edge_triples(tables.schema, edge_type, tables.edges[edge_type])


def schema_triple(schema: Schema) -> str:
    """Return the line of N-Triples that holds a schema."""
    text = schema.to_yaml()
    for old, new in _ESCAPES:
        text = text.replace(old, new)
    return f'<{schema.rdf.base}graph> <{terms.SCHEMA}> "{text}" .\n'


def node_triples(schema: Schema, label: str, table: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Yield the lines of nodes: their class, key and properties."""
    node = schema.nodes[label]
    iris = node_iris(schema, label, table.column(node.key))
    yield lines(iris, terms.TYPE, f"<{term(schema, label)}>")
    yield lines(iris, term(schema, node.key, label), literals(table.column(node.key), "string"))
    yield from _property_lines(schema, label, iris, table, node.properties)


def edge_triples(schema: Schema, edge_type: EdgeType, table: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Yield the lines of relationships: the direct triples, and those of the statement nodes."""
    source, type_, target = edge_type
    start = node_iris(schema, source, table.column("src"))
    end = iri_objects(node_iris(schema, target, table.column("dst")))
    yield lines(start, term(schema, type_), end)
    if not has_statements(schema, type_):
        return
    iris = statements(schema, edge_type, table)
    yield lines(iris, terms.SUBJECT, iri_objects(start))
    yield lines(iris, terms.PREDICATE, f"<{term(schema, type_)}>")
    yield lines(iris, terms.OBJECT, end)
    yield from _property_lines(schema, type_, iris, table, schema.relationships[type_].properties)


def has_statements(schema: Schema, type_: str) -> bool:
    """Return True if relationships of a type also have statement nodes, which hold their properties."""
    return bool(schema.relationships[type_].properties)


def statements(schema: Schema, edge_type: EdgeType, table: pa.Table) -> pa.ChunkedArray:
    """Return the IRIs of the statement nodes of relationships [n]."""
    source, type_, target = edge_type
    names = [pa.chunked_array([pa.repeat(label, table.num_rows)]) for label in (source, target)]
    ends = [table.column("src"), table.column("dst")]
    return statement_iris(schema, type_, [*names, *ends, *map(table.column, schema.edge_key(type_))])


def lines(subjects: pa.ChunkedArray, predicate: str, objects: pa.ChunkedArray | str) -> pa.ChunkedArray:
    """Return one line for each subject [n] whose object is not missing."""
    joined = pc.binary_join_element_wise("<", subjects, f"> <{predicate}> ", objects, " .\n", "")
    return joined.drop_null()


def iri_objects(iris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return IRIs in angle brackets, as objects of triples."""
    return pc.binary_join_element_wise("<", iris, ">", "")


def literals(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Return the values of a property type as literals; missing values stay missing."""
    if kind == "strings":
        text = _quoted(_json(column))
    elif kind == "vector":
        numbers = pc.binary_join(column.cast(pa.list_(pa.string())), ",")
        text = pc.binary_join_element_wise('"[', numbers, ']"', "")
    elif kind == "string":
        return _quoted(column)
    elif kind == "datetime":
        text = pc.binary_join_element_wise('"', pc.strftime(column, format="%Y-%m-%dT%H:%M:%S"), '"', "")
    else:
        plain = column.cast(pa.string())
        if kind == "float":
            for arrow, xsd in (("nan", "NaN"), ("inf", "INF")):
                plain = pc.replace_substring(plain, arrow, xsd)
        text = pc.binary_join_element_wise('"', plain, '"', "")
    return pc.binary_join_element_wise(text, f"^^<{DATATYPES[kind]}>", "")


def to_bytes(parts: Sequence[pa.ChunkedArray]) -> Iterator[pa.Buffer]:
    """Yield the text of lines without copying it."""
    for part in parts:
        for chunk in part.chunks:
            if len(chunk):
                offsets, data = chunk.buffers()[1:]
                bounds = memoryview(offsets).cast("i")
                yield data.slice(bounds[chunk.offset], bounds[chunk.offset + len(chunk)] - bounds[chunk.offset])


def _property_lines(
    schema: Schema, owner: str, iris: pa.ChunkedArray, table: pa.Table, properties: Mapping[str, str]
) -> Iterator[pa.ChunkedArray]:
    for name, kind in properties.items():
        if name in table.column_names:
            yield lines(iris, term(schema, name, owner), literals(table.column(name), kind))


def _quoted(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise('"', _replaced(text, _ESCAPES), '"', "")


def _json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of strings as JSON arrays."""
    parts = []
    for chunk in _compact(column).chunks:
        values = _replaced(pa.chunked_array([chunk.values]), (*_ESCAPES, *_CONTROLS))
        quoted = pc.binary_join_element_wise('"', values, '"', "").combine_chunks()
        lists = pa.ListArray.from_arrays(chunk.offsets, quoted, mask=chunk.is_null())
        parts.append(pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", ""))
    return pa.chunked_array(parts, pa.string())


def _replaced(text: pa.ChunkedArray, pairs: Sequence[tuple[str, str]]) -> pa.ChunkedArray:
    if not pc.any(pc.match_substring_regex(text, r'[\x00-\x1f"\\]')).as_py():
        return text
    for old, new in pairs:
        if pc.any(pc.match_substring(text, old)).as_py():
            text = pc.replace_substring(text, old, new)
    return text


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of lists without offset, so that the first list starts at the first value."""
    return column.take(pa.array(np.arange(len(column))))


def check_iris(there: GraphTables | None, tables: GraphTables) -> None:
    """Check that no IRI is the key of nodes of two labels, since an IRI key is the node's IRI.

    Raises:
        StoreError: two labels share an IRI key.
    """
    iri_keys: dict[str, list[pa.Array]] = {}
    for part in filter(None, (there, tables)):
        for label, table in part.nodes.items():
            keys = table.column(part.schema.nodes[label].key)
            iri_keys.setdefault(label, []).extend(keys.filter(pc.match_substring_regex(keys, terms.IRI)).chunks)
    for one, other in itertools.combinations(iri_keys, 2):
        keys, others = (pa.chunked_array(iri_keys[label], pa.string()) for label in (one, other))
        both = keys.filter(pc.is_in(keys, value_set=others))
        if len(both):
            raise StoreError(f"{both[0].as_py()} is the key of a {one} and of a {other}. Expected one label per IRI")
