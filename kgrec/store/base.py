"""`GraphStore`, the interface that every graph engine implements.

A store keeps the schema of its data. It has one writer at a time and any number of readers. Writes are atomic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pandas as pd
import pyarrow as pa

from kgrec._util import html
from kgrec._util.types import BoolArray, FloatArray
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import NodeLabel
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import KgrecError, StoreError, near_matches
from kgrec.store.results import to_frame
from kgrec.store.statement import ROW_LIMIT, TIME_LIMIT_SECONDS, Statement

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import HeteroData

NodeVectors = Mapping[str, tuple[pa.Array, FloatArray]]
"""Label → keys [n] and vectors, float32 [n, d]."""


class GraphStore(ABC):
    """A graph in a graph engine."""

    uri: str
    language: ClassVar[Literal["cypher", "sparql"]] = "cypher"
    """The query language of the engine."""

    label_of: ClassVar[str] = "labels({})[0]"
    """Cypher expression for the label of a node; `{}` is the node's variable."""

    @property
    @abstractmethod
    def schema(self) -> Schema | None:
        """The schema of the graph, or None if no data was loaded yet."""

    @abstractmethod
    def apply(self, schema: Schema) -> None:
        """Add a schema to the graph's: missing labels, types and properties are created, existing ones stay.

        Applying the same schema again changes nothing.

        Raises:
            StoreError: a label, type or property exists with another meaning; the message names it.
        """

    @abstractmethod
    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables in one transaction: rows with a new key are added, rows with a known key updated.

        The key of a node is its label's key property; the key of a relationship is its two ends and `Schema.edge_key`.
        A column that a table lacks, and a cell that its `gaps` mark, keeps the stored value; an explicit null
        overwrites it.
        """

    @abstractmethod
    def read(self) -> GraphTables:
        """Return the loaded data: nodes and relationships of the schema, without recommendations and vectors."""

    @abstractmethod
    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in arbitrary order.

        Raises:
            StoreError: the schema does not have the label.
        """

    def cypher(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        write: bool = False,
        unsafe: bool = False,
        time_limit: float = TIME_LIMIT_SECONDS,
        row_limit: int = ROW_LIMIT,
    ) -> pd.DataFrame:
        """Return the result of a Cypher query, which is read-only unless `write` is set.

        Args:
            query: one statement.
            parameters: parameter name → value, for each `$name` in the query.
            write: allow the query to change the graph, but not to access files, the network or engine settings.
            unsafe: allow everything that the engine can do.
            time_limit: seconds after which the query is stopped.
            row_limit: maximum number of rows. A statement that exceeds a limit changes nothing, except on Neo4j one
                that commits part by part (`IN TRANSACTIONS`).

        Returns:
            One row per result row. Integer columns are `int64`, or `Int64` if a value is missing.

        Raises:
            StoreError: the query is invalid or not allowed, exceeds a limit, or the engine does not support Cypher.
                The message shows the reason and the query.
            UsageError: a limit is invalid.
        """
        if self.language != "cypher":
            raise StoreError(f"{self.uri} does not support Cypher. Expected a query in {self.language.upper()}")
        return to_frame(self._answer(Statement(query, parameters or {}, write, unsafe, time_limit, row_limit)))

    def sparql(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        write: bool = False,
        unsafe: bool = False,
        time_limit: float = TIME_LIMIT_SECONDS,
        row_limit: int = ROW_LIMIT,
    ) -> pd.DataFrame:
        """Return the result of a SPARQL query, or run a SPARQL update if `write` is set.

        An ASK query returns the column `answer`; CONSTRUCT and DESCRIBE return `subject`, `predicate`, `object`. Types
        and errors are those of `cypher`.

        Args:
            query: one query or update; the schema's prefixes are predefined.
            parameters: variable name → value. A text of the form `<iri>` is an IRI, any other value a literal.
            write: the statement is an update.
            unsafe: allow everything that the engine can do, including SERVICE and LOAD.
            time_limit: seconds after which the query is stopped.
            row_limit: maximum number of rows.
        """
        if self.language != "sparql":
            raise StoreError(f"{self.uri} does not support SPARQL. Expected a query in {self.language.title()}")
        return to_frame(self._answer(Statement(query, parameters or {}, write, unsafe, time_limit, row_limit)))

    def answer(self, query: str, *, time_limit: float = TIME_LIMIT_SECONDS, row_limit: int = ROW_LIMIT) -> pa.Table:
        """Return the result of a read-only query in the engine's language as Arrow; limits and errors as `cypher`.

        Columns that no Arrow type can represent are packed as JSON; see `kgrec._util.values`.
        """
        return self._answer(Statement(query, time_limit=time_limit, row_limit=row_limit))

    @abstractmethod
    def _answer(self, statement: Statement) -> pa.Table:
        """Return the result of a user's statement in the engine's language."""

    @abstractmethod
    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Replace the vectors of a label's nodes by float32 [n, d] for the keys [n]."""

    @abstractmethod
    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if the node has no vector.

        Raises:
            StoreError: the label has no vectors.
        """

    @abstractmethod
    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label with the highest cosine similarity to a vector [d].

        The columns are `id`, `name` and `score`, the cosine similarity.

        Raises:
            StoreError: the label has no vectors, or its vectors have another length.
        """

    @abstractmethod
    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace the published recommendations atomically: a reader sees either the old set or the new one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run that made the recommendations; stored on each relationship.
            vectors: vectors of the run. They replace the vectors of all labels in the same step; None keeps the
                stored vectors.
        """

    @abstractmethod
    def published(self) -> str | None:
        """Return the name of the published run, or None if no run is published."""

    @abstractmethod
    def unpublish(self) -> None:
        """Remove the published recommendations and vectors; the loaded data stays."""

    @abstractmethod
    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector atomically.

        Embedded engines rewrite their files, so that no byte of the removed data stays on disk.

        Returns:
            Number of removed published rows: `recommendations` and `vectors`.

        Raises:
            StoreError: the label or the node does not exist.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the engine; the store cannot be used afterwards."""

    def drop(self) -> bool:
        """Close the store and delete the graph if this store created it; used when loading into a new graph fails.

        Returns:
            True if the graph was deleted; always False for a server.
        """
        return False

    def require_schema(self) -> Schema:
        """Return the schema of the graph.

        Raises:
            StoreError: no data was loaded yet.
        """
        schema = self.schema
        if schema is None:
            raise self._empty_error()
        return schema

    def node_label(self, label: str) -> NodeLabel:
        """Return the schema's declaration of a label.

        Raises:
            StoreError: no data was loaded yet, or the schema does not have the label.
        """
        nodes = self.require_schema().nodes
        if label not in nodes:
            raise StoreError(f"unknown label {label!r} in {self.uri}; expected one of {', '.join(nodes)}")
        return nodes[label]

    def check_there(self, label: str, id_: str) -> None:
        """Check that a node exists.

        Raises:
            StoreError: the label or the node does not exist.
        """
        ids = self.ids(label)
        if ids.index(id_).as_py() < 0:
            near = "" if label in self.require_schema().roles.users else near_matches(id_, ids.to_pylist())
            raise StoreError(f"no {label} {id_!r} in {self.uri}{near}; nothing was removed")

    def _empty_error(self) -> StoreError:
        """Return the error for a graph without data."""
        return StoreError(f"{self.uri} is empty. Run: kgrec load LOADER SOURCE --into {self.uri}")

    def _no_vectors_error(self, label: str) -> StoreError:
        """Return the error for a label without vectors."""
        steps = f"kgrec train {self.uri}, then kgrec publish {self.uri}"
        return StoreError(f"no vectors of {label} in {self.uri}; run {steps}")

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, apply their schema and write them; nothing is written if there is a problem.

        Tables may hold only part of the data: relationships may end at stored nodes, and a missing column keeps the
        stored values.

        Returns:
            The checked tables.

        Raises:
            DataError: the tables have problems; the error lists all of them.
        """
        checked = self.check(tables)
        self.apply(checked.schema)
        self.upsert(checked)
        return checked

    def check(self, tables: GraphTables, latest: float | None = None) -> GraphTables:
        """Return tables after checking them against their schema, and their relationships against the stored nodes.

        Args:
            tables: unchecked tables, such as those of a loader.
            latest: latest allowed time; see `kgrec.data.table_checks.check`.

        Raises:
            DataError: the tables have problems; the error lists all of them.
        """
        schema = self.schema
        if schema is None:
            return check(tables, latest=latest)
        known = {label: self.ids(label) for label in schema.nodes if label in tables.schema.nodes}
        return check(tables, known, latest)

    def snapshot(self) -> GraphSnapshot:
        """Return an immutable copy of the graph with numbered nodes.

        Raises:
            StoreError: no data was loaded yet.
        """
        self.require_schema()
        return GraphSnapshot.from_tables(self.read())

    def to_pyg(self, vectors: Vectors | None = None) -> HeteroData:
        """Return the graph as torch-geometric `HeteroData`; see `GraphSnapshot.to_pyg`."""
        return self.snapshot().to_pyg(vectors)

    def to_networkx(
        self, node: str | tuple[str, str] | None = None, *, hops: int = 1, limit: int = 10_000
    ) -> networkx.MultiDiGraph:
        """Return the neighborhood of a node, or all of a small graph, for networkx; see `kgrec.data.to_networkx`."""
        from kgrec.data.to_networkx import to_networkx

        return to_networkx(self.snapshot(), node, hops=hops, limit=limit)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def _repr_html_(self) -> str:
        try:
            schema = self.schema
        except KgrecError as error:
            return html.title(self.uri) + html.facts({"cannot be read": error})
        return html.title(self.uri) + (schema._repr_html_() if schema else html.facts({"schema": "nothing loaded yet"}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_known(ids: pa.ChunkedArray, known: BoolArray, role: str) -> None:
    """Check that the users or items of recommendations are nodes of the graph.

    Args:
        ids: keys of the users or items, string [n].
        known: True for each key that is in the graph, bool [n].
        role: "user" or "item".

    Raises:
        StoreError: a key is not in the graph; the message names up to five.
    """
    unknown = ids.filter(pa.array(~known))
    if len(unknown):
        shown = ", ".join(repr(i) for i in unknown.unique().to_pylist()[:5])
        raise StoreError(f"recommendations for {role}s that are not in the graph: {shown}; load them first")
