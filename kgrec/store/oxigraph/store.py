"""RDF graph store on pyoxigraph: a folder, no server, queried by SPARQL. `kgrec.rdf` describes the encoding."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.query_process import Refused
from kgrec._util.rdf_values import native
from kgrec._util.types import FloatArray
from kgrec.data.columns import to_mask
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, StoreError
from kgrec.rdf import iris as terms
from kgrec.rdf import triples
from kgrec.rdf.decode import decode
from kgrec.rdf.iris import node_iris, prefixes, term
from kgrec.rdf.literals import split
from kgrec.rdf.triples import Triples, parse
from kgrec.store.atomic_file import lock, own_path
from kgrec.store.base import GraphStore, NodeVectors, check_known
from kgrec.store.checksum import MAX_CHECKED_ON_OPEN_BYTES
from kgrec.store.oxigraph import versions
from kgrec.store.oxigraph.parameters import with_values
from kgrec.store.oxigraph.query import ask, guarded, refusal
from kgrec.store.oxigraph.remove import copy_without
from kgrec.store.oxigraph.rows import (
    declare,
    loaded,
    recommendation_lines,
    replace_graph,
    settle,
    stored_schema,
    upsert,
)
from kgrec.store.oxigraph.vectors import KGREC, nearest, read_vectors, vector_graph, vector_lines
from kgrec.store.statement import Statement
from kgrec.store.uri import GraphUri

if TYPE_CHECKING:
    import pyoxigraph
    import rdflib

RECOMMENDATIONS: Final = KGREC + "recommendations"
PUBLISHED: Final = KGREC + "published"


class RdfStore(GraphStore):
    """An RDF graph in a local folder, with one writer and any number of readers."""

    language: ClassVar[Literal["cypher", "sparql"]] = "sparql"

    def __init__(self, uri: str, read_only: bool = False) -> None:
        """Open a graph, or create it.

        Args:
            uri: `oxigraph:FOLDER`; the folder is created if it does not exist.
            read_only: open an existing graph for reading only; works while another process writes.

        Raises:
            StoreLocked: another store has the graph open for writing.
            StoreError: the graph does not exist (`read_only`), is not a graph, or is not accessible.
            MissingExtra: pyoxigraph is not installed.
        """
        triples.oxigraph()
        self.uri, self.read_only = uri, read_only
        self.path = own_path(uri, GraphUri.parse(uri).path or Path(uri), read_only)
        self._closed, self._opening = False, threading.Lock()
        self._version: Path | None = None
        self._store: pyoxigraph.Store | None = None
        self._vectors: dict[str, tuple[pa.Array, FloatArray]] = {}
        if read_only:
            if versions.current(self.path) is None:
                raise StoreError(f"no graph at {uri}. Run: kgrec load LOADER SOURCE --into {uri}")
            return
        versions.current(self.path)
        self._is_new, self._began = not self.path.exists(), versions.current(self.path) is None
        self._unlock = weakref.finalize(self, os.close, lock(self.path / "lock"))

    def close(self) -> None:
        """Close the store and unlock the folder; a new graph without data is deleted."""
        self._store, self._closed = None, True
        if not self.read_only and self._unlock.alive:
            if versions.current(self.path) is None:
                versions.discard(self.path, self._is_new)
            self._unlock()

    def drop(self) -> bool:
        """Close the store and remove the graph if it was new; see `GraphStore.drop`."""
        if self.read_only or not self._began:
            return False
        (self.path / "current").unlink(missing_ok=True)
        self.close()
        return True

    @property
    def schema(self) -> Schema | None:
        """The schema of the graph, or None if no data was loaded yet."""
        store = self._current()
        return None if store is None else stored_schema(store)

    def apply(self, schema: Schema) -> None:
        """Add a schema to the graph's; see `GraphStore.apply`."""
        self._change(lambda store: declare(store, schema))

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables atomically: rows with a new key are added, rows with a known key updated."""
        there, schema = self._tables(), self.require_schema()
        self._change(lambda store: upsert(store, schema, there, tables))

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, apply their schema and write them in one step; return the checked tables.

        Raises:
            DataError: the tables have problems; the error lists all of them.
            StoreError: the schema contradicts the graph's, or the folder cannot be written; nothing was written.
        """
        checked, there = self.check(tables), self._tables()
        self._change(lambda store: upsert(store, declare(store, checked.schema), there, checked))
        return checked

    def read(self) -> GraphTables:
        """Return the loaded data: nodes and relationships of the schema, without recommendations and vectors.

        Raises:
            StoreError: no data was loaded yet.
        """
        self.require_schema()
        tables = self._tables()
        assert tables is not None
        return tables

    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in arbitrary order.

        Raises:
            StoreError: the schema does not have the label.
        """
        import pyoxigraph as ox

        node, schema = self.node_label(label), self.require_schema()
        class_, key = term(schema, label), term(schema, node.key, label)
        query = f"SELECT ?id WHERE {{ ?n <{terms.TYPE}> <{class_}> ; <{key}> ?id }}"
        solutions = self._opened().query(query)
        assert isinstance(solutions, ox.QuerySolutions)
        text = solutions.serialize(format=ox.QueryResultsFormat.TSV) or b""
        ids = split(pa.chunked_array([text.decode().split("\n")[1:-1]], pa.string())).column("text")
        return ids.combine_chunks().cast(pa.string())

    def _answer(self, statement: Statement) -> pa.Table:
        """Return the result of a user's statement, run in a separate process.

        An update runs on a copy of the graph, which then becomes the current version.

        Raises:
            StoreError: the statement is invalid, not allowed, or exceeds a limit; the graph is unchanged.
        """
        schema = self.require_schema()
        text = statement.text if statement.unsafe else guarded(self._opened(), self.uri, schema, statement)
        text = with_values(text, statement.parameters)
        if statement.write:
            return self._update(statement, text, schema)
        self._current()
        version = self._version
        assert version is not None
        try:
            return ask(version, statement, text, prefixes(schema))
        except Refused as error:
            if versions.current(self.path) != version:  # a writer removed the version in the meantime
                return self._answer(statement)
            raise refusal(statement.text, str(error)) from None

    def rdflib(self) -> rdflib.Graph:
        """Return a read-only rdflib graph over the same files."""
        import oxrdflib
        import rdflib

        return rdflib.Graph(
            store=oxrdflib.OxigraphStore(store=self._current()), identifier=rdflib.URIRef("urn:x-rdflib:default")
        )

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Replace the vectors of a label, in the named graph `kgrec:vectors/<label>`.

        Args:
            label: a label of the schema.
            ids: keys of nodes [n].
            vectors: float32 [n, d]; a row of zeros means no vector and is not stored.
        """
        parts = self._vector_lines(label, ids, vectors)
        self._change(lambda store: replace_graph(store, vector_graph(label), parts))

    def _vector_lines(self, label: str, ids: pa.Array, vectors: FloatArray) -> list[pa.ChunkedArray]:
        self.node_label(label)
        return vector_lines(self.require_schema(), label, ids, vectors)

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if the node has no vector.

        Raises:
            StoreError: the label has no vectors.
        """
        ids, vectors = self._vectors_of(label)
        row = ids.index(id_).as_py()
        return None if row < 0 else vectors[row]

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label with the highest cosine similarity to a vector [d]: `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or its vectors have another length.
        """
        ids, vectors = self._vectors_of(label)
        if len(vector) != vectors.shape[1]:
            found = f"{vectors.shape[1]} dimensions; this one has {len(vector)}"
            raise StoreError(f"vectors of {label} in {self.uri} have {found}")
        frame = nearest(ids, vectors, vector, k)
        frame.insert(1, "name", self._names(label, frame["id"].tolist()))
        return frame

    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace the recommendations, in the named graph `kgrec:recommendations`, and the vectors in one step.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run that made the recommendations.
            vectors: vectors of the run by label; None keeps the stored vectors.

        Raises:
            StoreError: no data was loaded yet, or a user or an item is not in the graph.
        """
        import pyoxigraph as ox

        schema = self.require_schema()
        users = self._iris_by_role(
            schema, schema.roles.users, recommendations.column("user_id").cast(pa.string()), "user"
        )
        items = self._iris_by_role(
            schema, schema.roles.items, recommendations.column("item_id").cast(pa.string()), "item"
        )
        parts = recommendation_lines(schema, users, items, recommendations)
        graph = ox.NamedNode(RECOMMENDATIONS)
        of_label = {label: self._vector_lines(label, *pair) for label, pair in (vectors or {}).items()}

        def work(store: pyoxigraph.Store) -> None:
            replace_graph(store, graph, parts)
            for label in schema.nodes if vectors is not None else ():
                store.remove_graph(vector_graph(label))
            for label, of_nodes in of_label.items():
                replace_graph(store, vector_graph(label), of_nodes)
            store.add(ox.Quad(graph, ox.NamedNode(PUBLISHED), ox.Literal(run), graph))

        self._change(work)

    def published(self) -> str | None:
        """Return the name of the published run, or None if no run is published."""
        import pyoxigraph as ox

        store = self._current()
        quads = store.quads_for_pattern(None, ox.NamedNode(PUBLISHED), None, None) if store else ()
        return next((str(native(quad.object)) for quad in quads), None)

    def unpublish(self) -> None:
        """Remove the published recommendations and vectors; the loaded data stays."""
        import pyoxigraph as ox

        names = ["recommendations", *(f"vectors/{label}" for label in self.require_schema().nodes)]

        def work(store: pyoxigraph.Store) -> None:
            for name in names:
                store.remove_graph(ox.NamedNode(KGREC + name))

        self._change(work)

    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector; see `GraphStore.remove`."""
        self._check_writable()
        self.check_there(label, id_)
        schema, source = self.require_schema(), self._opened()
        [iri] = node_iris(schema, label, pa.chunked_array([[id_]], pa.string())).to_pylist()
        left_out: dict[str, int] = {}
        versions.change(self.path, lambda target: left_out.update(copy_without(source, target, iri)), empty=True)
        # A vector is stored as two triples: the id of its node and its numbers.
        vectors = left_out.get(f"{KGREC}vectors/{label}", 0) // 2
        return {"recommendations": left_out.get(RECOMMENDATIONS, 0), "vectors": vectors}

    def triples(self) -> Triples:
        """Return the triples of the loaded data."""
        return loaded(self._opened())

    def _tables(self) -> GraphTables | None:
        schema = self.schema
        return None if schema is None else replace(decode(self.triples(), schema), gaps={})

    def _current(self) -> pyoxigraph.Store | None:
        """Return the current version, opened read-only; None if there is no version yet."""
        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")
        with self._opening:
            version = versions.current(self.path)
            if version != self._version and version is not None:
                self._store = self._open(version)
                self._version, self._vectors = version, {}
            return self._store

    def _open(self, version: Path) -> pyoxigraph.Store:
        try:
            versions.check(version, MAX_CHECKED_ON_OPEN_BYTES)
            return triples.oxigraph().read_only(str(version))
        except (OSError, RuntimeError, StoreError) as error:
            now = versions.current(self.path)
            if now is None or now == version:
                if isinstance(error, StoreError):
                    raise
                raise StoreError(f"cannot open {self.uri}: {error}") from None
            return self._open(now)  # a writer removed the version in the meantime

    def _opened(self) -> pyoxigraph.Store:
        store = self._current()
        if store is None:
            raise self._empty_error()
        return store

    def _change(self, work: Callable[[pyoxigraph.Store], object]) -> None:
        self._check_writable()
        versions.change(self.path, work)

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.uri} is open read-only; open it without read_only to write")
        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")

    def _update(self, statement: Statement, text: str, schema: Schema) -> pa.Table:
        """Run an update on a copy of the graph and keep the result if it fits the schema.

        Raises:
            StoreError: the update is invalid, or its result does not fit the schema; the graph is unchanged.
        """
        self._check_writable()
        try:
            versions.change(
                self.path,
                lambda store: settle(store, schema),
                before=lambda version: ask(version, statement, text, prefixes(schema)),
            )
        except Refused as error:
            raise refusal(statement.text, str(error)) from None
        except DataError as error:
            message = f"the update was undone because its result does not fit the schema: {error}"
            raise StoreError(f"{message}\nthe update: {statement.text}") from None
        return pa.table({})

    def _vectors_of(self, label: str) -> tuple[pa.Array, FloatArray]:
        """Return the keys [n] and the vectors [n, d] of a label."""
        import pyoxigraph as ox

        self.node_label(label)
        store = self._current()
        graph = vector_graph(label)
        if store is None or not store.contains_named_graph(graph):
            raise self._no_vectors_error(label)
        if label not in self._vectors:
            self._vectors[label] = read_vectors(parse([store.dump(format=ox.RdfFormat.N_TRIPLES, from_graph=graph)]))
        return self._vectors[label]

    def _names(self, label: str, ids: list[str]) -> list[str]:
        node, schema = self.node_label(label), self.require_schema()
        if node.name is None or not ids:
            return ids
        import pyoxigraph as ox

        nodes = node_iris(schema, label, pa.chunked_array([ids], pa.string())).to_pylist()
        name, store, graph = ox.NamedNode(term(schema, node.name, label)), self._opened(), ox.DefaultGraph()
        quads = (next(store.quads_for_pattern(ox.NamedNode(iri), name, None, graph), None) for iri in nodes)
        return [str(native(quad.object)) if quad else id_ for quad, id_ in zip(quads, ids, strict=True)]

    def _iris_by_role(
        self, schema: Schema, labels: tuple[str, ...], ids: pa.ChunkedArray, role: str
    ) -> pa.ChunkedArray:
        """Return the IRIs of users or items [n] of any of the labels."""
        iris = pa.chunked_array([pa.nulls(len(ids), pa.string())])
        for label in labels:
            known = pc.is_in(ids, value_set=self.ids(label))
            iris = pc.if_else(known, node_iris(schema, label, ids), iris)
        check_known(ids, to_mask(pc.is_valid(iris)), role)
        return iris
