"""Decoding of triples to `GraphTables` by a schema, with a report of all problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec._util.types import BoolArray, IntArray
from kgrec.data.columns import ARROW_TYPES, to_mask
from kgrec.data.schema import MAX_WRITTEN_TYPES, Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.tables import Gaps, GraphTables, TableKey
from kgrec.errors import DataError, Problem
from kgrec.rdf import iris as terms
from kgrec.rdf import literals
from kgrec.rdf.classes import labels_of_classes
from kgrec.rdf.encode import has_statements
from kgrec.rdf.iris import term
from kgrec.rdf.triples import Triples


def decode(triples: Triples, schema: Schema) -> GraphTables:
    """Return the nodes and relationships of a schema that triples hold.

    Nodes are the instances of a label's class or of its subclasses. A node without a class at an end of a relationship
    gets the first label that the schema allows there. The key of a node is the literal of the key property, else its
    IRI. A value without a triple is a gap, not a null.

    Raises:
        DataError: the triples do not fit the schema: a node has two labels or is blank, an end of a relationship has an
            undeclared label, a literal has another type, a property has several values, or subclasses form a cycle.
            The error lists all problems.
    """
    return _Decoder(triples, schema).run()


class _Decoder:
    def __init__(self, triples: Triples, schema: Schema) -> None:
        self.triples, self.schema = triples, schema
        self.problems: list[Problem] = []
        self.gaps: dict[TableKey, Gaps] = {}
        self.types = {type_: triples.rows(term(schema, type_)) for type_ in schema.relationships}
        ends = [*self.types.values(), triples.rows(terms.SUBJECT), triples.rows(terms.OBJECT)]
        self._number(np.unique(np.concatenate(ends)))
        self.label = np.full(len(self.iris), -1)
        self.row = np.full(len(self.iris), -1)

    def run(self) -> GraphTables:
        self._label_by_class()
        self._label_by_ends()
        nodes = {label: self._nodes(number, label) for number, label in enumerate(self.schema.nodes)}
        edges: dict[EdgeType, pa.Table] = {}
        for type_ in self.schema.relationships:
            edges |= self._edges(type_, nodes)
        n_types = sum(table.num_rows > 0 for table in edges.values())
        if n_types > MAX_WRITTEN_TYPES:
            expected = f"at most {MAX_WRITTEN_TYPES}; leave rare ones out of the schema"
            self.problems.append(Problem("the graph", f"{n_types:,} relationship types with triples", expected))
        if self.problems:
            raise DataError(sorted(self.problems, key=lambda problem: (problem.where, problem.row or 0)))
        return GraphTables(
            self.schema,
            {label: table for label, table in nodes.items() if table.num_rows},
            {edge_type: table for edge_type, table in edges.items() if table.num_rows},
            gaps=self.gaps,
        )

    def _number(self, rows: IntArray) -> None:
        """Number all subjects and the objects of the given rows."""
        objects = self.triples.objects.take(pa.array(rows))
        both = pa.chunked_array([*self.triples.subjects.chunks, *objects.chunks], pa.large_string())
        coded = pc.dictionary_encode(both).combine_chunks()
        codes = coded.indices.to_numpy().astype(np.int64)
        self.iris = coded.dictionary
        self.subject = codes[: len(self.triples)]
        self.object = np.full(len(self.triples), -1)
        self.object[rows] = codes[len(self.triples) :]
        self.is_iri = to_mask(pc.starts_with(self.iris, "<"))

    def _label_by_class(self) -> None:
        labels, above, problems = labels_of_classes(self.triples, self.schema)
        self.problems += problems
        rows = self.triples.rows(terms.TYPE)
        names = pa.array([f"<{iri}>" for iri in labels], pa.large_string())
        positions = pc.index_in(self.triples.objects.take(pa.array(rows)), value_set=names).fill_null(-1).to_numpy()
        numbers = np.array([*labels.values(), -1])[positions]
        for number in sorted(range(len(self.schema.nodes)), key=lambda number: -above[number].sum()):
            of_label = rows[numbers == number]
            of_label = of_label[~above[self.label[self.subject[of_label]], number]]
            codes = self.subject[of_label]
            other = (self.label[codes] >= 0) & (self.label[codes] != number)
            for row in of_label[other].tolist():
                one, two = list(self.schema.nodes)[self.label[self.subject[row]]], list(self.schema.nodes)[number]
                self._report(row, f"{self._text(self.subject[row])} as {one} and as {two}", "an IRI of one type")
            self.label[codes[~other]] = number

    def _label_by_ends(self) -> None:
        """Label nodes without a class by the ends at which they occur: the first label allowed there.

        A notice reports nodes for which several labels are allowed.
        """
        names = list(self.schema.nodes)
        for type_, rows in self.types.items():
            relationship = self.schema.relationships[type_]
            for codes, labels in ((self.subject[rows], relationship.from_), (self.object[rows], relationship.to)):
                free = np.unique(codes[(self.label[codes] < 0) & self.is_iri[codes]])
                self.label[free] = names.index(labels[0])
                if len(labels) > 1 and len(free):
                    first = self._text(free[0])
                    notice(
                        f"nodes without an rdf:type: {len(free):,}, such as {first}. They were read as {labels[0]}, "
                        f"the first label that {type_} allows there ({' or '.join(labels)}). Add an rdf:type to choose"
                    )

    def _nodes(self, number: int, label: str) -> pa.Table:
        node = self.schema.nodes[label]
        codes = np.flatnonzero((self.label == number) & self.is_iri)
        self._report_blank(number)
        self.row[codes] = np.arange(len(codes))
        iris = self.iris.take(pa.array(codes)).cast(pa.string())
        bare = pc.utf8_slice_codeunits(iris, 1, -1)
        mine = self.label == number
        keys = self._property(term(self.schema, node.key, label), "string", node.key, mine, len(codes))
        columns = {node.key: pc.coalesce(keys, pa.chunked_array([bare], pa.string()))}
        for name, kind in node.properties.items():
            columns[name] = self._property(self._property_term(label, name), kind, name, mine, len(codes))
        self.gaps[label] = _missing(columns, node.properties)
        if node.name and node.name != node.key and node.properties[node.name] == "string":
            given = pa.chunked_array([pc.match_substring_regex(columns[node.key].combine_chunks(), terms.IRI)])
            readable = pc.if_else(given, terms.readable(columns[node.key]), pa.scalar(None, pa.string()))
            columns[node.name] = pc.coalesce(columns[node.name], readable)
        return pa.table(columns)

    def _property_term(self, label: str, name: str) -> str:
        """Return the IRI of a property; for a label's name, `rdfs:label` if neither schema nor data use another IRI."""
        iri = term(self.schema, name, label)
        given = {name, f"{label}.{name}"} & set(self.schema.rdf.terms)
        if self.schema.nodes[label].name == name and not given and not len(self.triples.rows(iri)):
            return terms.LABEL
        return iri

    def _report_blank(self, number: int) -> None:
        blank = (self.label == number) & ~self.is_iri
        rows = np.flatnonzero(blank[self.subject]) if blank.any() else np.empty(0, np.int64)
        _, first = np.unique(self.subject[rows], return_index=True)
        for row in rows[first].tolist():
            label, predicate = list(self.schema.nodes)[number], self.triples.predicates[row].as_py()
            found = f"a blank node with {predicate} {self.triples.objects[row].as_py()}"
            self._report(row, f"{found} as {label}", "a node with an IRI")

    def _property(self, iri: str, kind: str, name: str, mine: BoolArray, n: int) -> pa.ChunkedArray:
        """Return a property of the nodes in the mask `mine` as a column [n], ordered by `self.row`."""
        rows = self.triples.rows(iri)
        rows = rows[mine[self.subject[rows]] & (self.row[self.subject[rows]] >= 0)]
        parts = literals.split(self.triples.objects.take(pa.array(rows)))
        at = self.row[self.subject[rows]]
        if kind == "strings":
            return self._lists(parts, rows, at, n, name)
        if kind == "vector":
            return self._vectors(parts, rows, at, n, name)
        kept = self._single(parts, rows, at, name)
        parts, rows, at = parts.take(pa.array(kept)), rows[kept], at[kept]
        column, wrong = literals.values(parts, kind)
        wrong |= ~to_mask(pc.is_valid(parts.column("text")))
        for i in np.flatnonzero(wrong).tolist():
            day = "; of a day in the years 1 to 9999, or declare the property a string" if kind == "datetime" else ""
            self._report_value(int(rows[i]), f"a literal of type {kind} ({terms.DATATYPES[kind]}){day}", name)
        return _placed(column, at, n)

    def _single(self, parts: pa.Table, rows: IntArray, at: IntArray, name: str) -> IntArray:
        """Return the positions of one value per node, in the language that `literals.preference` ranks first."""
        if len(np.unique(at)) == len(at):
            return np.argsort(at)
        rank, tie = literals.preference(parts)
        order = np.lexsort([np.arange(len(at)), tie, rank, at])
        first = np.ones(len(order), dtype=bool)
        first[1:] = at[order][1:] != at[order][:-1]
        chosen = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
        differs = ~first & (rank[order] == rank[chosen]) & (rank[order] < literals.FOREIGN)
        text = parts.column("text").to_numpy()
        differs[differs] = text[order[differs]] != text[chosen[differs]]
        for i in order[differs].tolist():
            self._report_value(int(rows[i]), "one value", name, "another value ")
        return order[first]

    def _lists(self, parts: pa.Table, rows: IntArray, at: IntArray, n: int, name: str) -> pa.ChunkedArray:
        """Return lists of strings: a JSON literal as given, or the plain literals of a node, sorted."""
        is_json = to_mask(pc.equal(parts.column("datatype"), terms.DATATYPES["strings"]))
        text = parts.column("text").cast(pa.string())
        json_lists, wrong = literals.json_lists(text.filter(pa.array(is_json)), "strings")
        again = is_json & (np.bincount(at, minlength=n)[at] > 1)
        for bad, expected in (
            (rows[is_json][wrong], "a JSON array of strings"),
            (rows[again], "one JSON literal alone"),
        ):
            for row in bad.tolist():
                self._report_value(row, expected, name)
        for row in rows[~to_mask(pc.is_valid(text))].tolist():
            self._report_value(row, "a literal", name)
        plain = pa.table({"at": at[~is_json], "text": pc.utf8_trim_whitespace(text.filter(pa.array(~is_json)))})
        plain = plain.filter(pc.not_equal(plain.column("text"), ""))
        plain = plain.group_by(["at", "text"]).aggregate([]).sort_by([("at", "ascending"), ("text", "ascending")])
        starts, counts = np.unique(plain.column("at").to_numpy(), return_counts=True)
        lists = pa.ListArray.from_arrays(
            pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()), plain.column("text").combine_chunks()
        )
        column = pa.chunked_array([*json_lists.chunks, lists], ARROW_TYPES["strings"])
        return _placed(column, np.concatenate([at[is_json], starts]).astype(np.int64), n)

    def _vectors(self, parts: pa.Table, rows: IntArray, at: IntArray, n: int, name: str) -> pa.ChunkedArray:
        """Return a column of vectors, which are one JSON literal per node."""
        text = parts.column("text").cast(pa.string())
        is_json = to_mask(pc.equal(parts.column("datatype"), terms.DATATYPES["vector"]))
        lists, wrong = literals.json_lists(pc.if_else(pa.array(is_json), text, None), "vector")
        wrong |= ~is_json | (np.bincount(at, minlength=n)[at] > 1)
        for row in rows[wrong].tolist():
            self._report_value(row, "one JSON array of numbers", name)
        return _placed(lists, at, n)

    def _edges(self, type_: str, nodes: dict[str, pa.Table]) -> dict[EdgeType, pa.Table]:
        rows = self.types[type_]
        src, dst = self.subject[rows], self.object[rows]
        statements = np.empty(0, np.int64)
        if has_statements(self.schema, type_):
            statements, starts, ends = self._statements(type_)
            n = len(self.iris)
            alone = ~np.isin(src * n + dst, starts * n + ends)
            rows = np.concatenate([np.full(len(statements), -1), rows[alone]])
            src, dst = np.concatenate([starts, src[alone]]), np.concatenate([ends, dst[alone]])
        numbers = {label: number for number, label in enumerate(self.schema.nodes)}
        taken = np.zeros(len(src), dtype=bool)
        edges = {}
        for edge_type in self.schema.edge_types(type_):
            of_type = (self.label[src] == numbers[edge_type[0]]) & (self.label[dst] == numbers[edge_type[2]])
            taken |= of_type
            of_type &= (self.row[src] >= 0) & (self.row[dst] >= 0)  # blank nodes of a class are reported already
            edges[edge_type] = self._edge_table(
                edge_type, nodes, self.row[src[of_type]], self.row[dst[of_type]], statements, np.flatnonzero(of_type)
            )
        self._report_ends(type_, rows[~taken], src[~taken], dst[~taken])
        return edges

    def _statements(self, type_: str) -> tuple[IntArray, IntArray, IntArray]:
        """Return the statement nodes of a relationship type, and the start and end of each."""
        ends = []
        for iri in (terms.SUBJECT, terms.OBJECT):
            rows, end = self.triples.rows(iri), np.full(len(self.iris), -1)
            _, first = np.unique(self.subject[rows], return_index=True)
            for row in np.delete(rows, first).tolist():
                if type_ == next(iter(self.types)):
                    self._report(row, f"another {iri} of {self._text(self.subject[row])}", "one")
            end[self.subject[rows]] = self.object[rows]
            ends.append(end)
        rows = self.triples.rows(terms.PREDICATE)
        wanted = to_mask(pc.equal(self.triples.objects.take(pa.array(rows)), f"<{term(self.schema, type_)}>"))
        nodes = np.unique(self.subject[rows[wanted]])
        nodes = nodes[(ends[0][nodes] >= 0) & (ends[1][nodes] >= 0)]
        return nodes, ends[0][nodes], ends[1][nodes]

    def _edge_table(
        self,
        edge_type: EdgeType,
        nodes: dict[str, pa.Table],
        src: IntArray,
        dst: IntArray,
        statements: IntArray,
        positions: IntArray,
    ) -> pa.Table:
        source, type_, target = edge_type
        columns = {
            "src": nodes[source].column(0).take(pa.array(src)),
            "dst": nodes[target].column(0).take(pa.array(dst)),
        }
        mine = np.zeros(len(self.iris), dtype=bool)
        codes = statements[positions[positions < len(statements)]]
        mine[codes] = True
        self.row[codes] = np.arange(len(codes))
        for name, kind in self.schema.relationships[type_].properties.items():
            columns[name] = self._property(term(self.schema, name, type_), kind, name, mine, len(src))
        self.gaps[edge_type] = _missing(columns, self.schema.relationships[type_].properties)
        return pa.table(columns)

    def _report_ends(self, type_: str, rows: IntArray, src: IntArray, dst: IntArray) -> None:
        relationship = self.schema.relationships[type_]
        for row, start, end in zip(rows.tolist(), src.tolist(), dst.tolist(), strict=True):
            found = f"{type_} from {self._described(start)} to {self._described(end)}"
            expected = f"from {' or '.join(relationship.from_)} to {' or '.join(relationship.to)}"
            self._report(row, found, expected)

    def _described(self, code: int) -> str:
        names = list(self.schema.nodes)
        if not self.is_iri[code]:
            return f"{self._text(code)} (no IRI)"
        label = names[self.label[code]] if self.label[code] >= 0 else "of no declared class"
        return f"{self._text(code)} ({label})"

    def _text(self, code: int) -> str:
        return str(self.iris[int(code)].as_py())

    def _report_value(self, row: int, expected: str, name: str, what: str = "") -> None:
        found = f"{what}{self.triples.objects[row].as_py()} of {self._text(self.subject[row])}"
        self._report(row, found, expected, name)

    def _report(self, row: int, found: str, expected: str, field: str | None = None) -> None:
        where, line = self.triples.place(row) if row >= 0 else ("the graph", None)
        self.problems.append(Problem(where, found, expected, line, field))


def _missing(columns: Mapping[str, pa.ChunkedArray], names: Iterable[str]) -> Gaps:
    return {name: to_mask(pc.is_null(columns[name])) for name in names if columns[name].null_count}


def _placed(column: pa.ChunkedArray, at: IntArray, n: int) -> pa.ChunkedArray:
    """Return a column [n] with the values at the positions `at`; all other cells are null."""
    source = np.full(n, -1)
    source[at] = np.arange(len(at))
    return column.take(pa.array(source, mask=source < 0))
