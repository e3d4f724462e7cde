"""The port every graph engine implements.

A store keeps its schema beside the data, so an opened graph knows its vocabulary. One writer at a time; any number of
readers. A write happens whole or not at all.
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
    """A graph in an engine."""

    uri: str
    language: ClassVar[Literal["cypher", "sparql"]] = "cypher"
    """The query language of the engine."""

    label_of: ClassVar[str] = "labels({})[0]"
    """The label of a node in Cypher, where `{}` is the node."""

    @property
    @abstractmethod
    def schema(self) -> Schema | None:
        """Return the schema of the graph, or None while nothing was loaded."""

    @abstractmethod
    def apply(self, schema: Schema) -> None:
        """Declare a schema: create what is missing, keep what is there; doing it twice changes nothing.

        Raises:
            StoreError: a label, type or property is there with another meaning; says which.
        """

    @abstractmethod
    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables in one transaction: new rows are added, rows of a known key replaced.

        A node's key is its label's key property; a relationship's is its two ends and `Schema.edge_key`. What is not
        given, a column that a table lacks or a cell that its `gaps` mark, leaves what is there; a null that is given
        takes its place.
        """

    @abstractmethod
    def read(self) -> GraphTables:
        """Return everything that was loaded: nodes and relationships of the schema, not what kgrec derived."""

    @abstractmethod
    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in no particular order.

        Raises:
            StoreError: the schema has no such label.
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
        """Run a Cypher query; read-only unless `write`.

        Args:
            query: one statement.
            parameters: values of the query's `$name`s.
            write: allow the query to change the graph; not files, the network or the engine itself.
            unsafe: allow it everything that the engine can do.
            time_limit: seconds after which it is stopped.
            row_limit: rows it may return.

        Returns:
            A row a row. Whole numbers are `int64`, or `Int64` where one is missing.

        Raises:
            StoreError: the query is wrong, takes too long, returns too much, or does what it may not; the reason and
                the query are shown. Or the engine speaks another language.
            UsageError: a limit that is none.
        """
        if self.language != "cypher":
            raise StoreError(f"{self.uri} speaks {self.language.upper()}, not Cypher")
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
        """Run a SPARQL query, or with `write` an update; results and errors as `cypher`.

        An ASK query answers with the column `answer`, CONSTRUCT and DESCRIBE with `subject`, `predicate`, `object`. A
        parameter written as `<iri>` is an IRI, every other one a literal.

        Args:
            query: one query; the schema's prefixes may be used in it.
            parameters: values of the query's variables, by name.
            write: it is an update.
            unsafe: allow it everything that the engine can do, SERVICE and LOAD included.
            time_limit: seconds after which it is stopped.
            row_limit: rows it may return.
        """
        if self.language != "sparql":
            raise StoreError(f"{self.uri} speaks {self.language.title()}, not SPARQL")
        return to_frame(self._answer(Statement(query, parameters or {}, write, unsafe, time_limit, row_limit)))

    def answer(self, query: str, *, time_limit: float = TIME_LIMIT_SECONDS, row_limit: int = ROW_LIMIT) -> pa.Table:
        """Run a reading query in the engine's language, and return it as Arrow; limits and errors as `cypher`.

        What no one type of Arrow holds is packed; see `kgrec._util.values`.
        """
        return self._answer(Statement(query, time_limit=time_limit, row_limit=row_limit))

    @abstractmethod
    def _answer(self, statement: Statement) -> pa.Table:
        """Run a user's statement in the engine's language."""

    @abstractmethod
    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Set the `embedding` of nodes: keys [n] and float32 [n, d]; replaces all earlier ones of the label."""

    @abstractmethod
    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if it has none.

        Raises:
            StoreError: the label has no vectors.
        """

    @abstractmethod
    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label nearest to a vector [d] by cosine: columns `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or of another length.
        """

    @abstractmethod
    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace what is recommended by these: a reader sees the old set or the new one, never half of one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run they come from, written on each relationship.
            vectors: the run's, which replace all that are there, of other labels too, in the same step; without them
                those stay.
        """

    @abstractmethod
    def published(self) -> str | None:
        """Return the name of the published run, or None if none is."""

    @abstractmethod
    def unpublish(self) -> None:
        """Remove everything that was published: recommendations and vectors. What was loaded stays."""

    @abstractmethod
    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector, whole or not at all.

        An embedded engine is written anew, so that no file of it holds a byte of what was removed.

        Returns:
            How much of what was published went with it: recommendations, vectors.

        Raises:
            StoreError: there is no such label or node.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the engine; the store cannot be used afterwards."""

    def drop(self) -> bool:
        """Close the store and remove the graph, if this store has begun it, because what it was made for failed.

        Returns:
            Whether it is removed. An engine on a server removes nothing.
        """
        return False

    def require_schema(self) -> Schema:
        """Return the schema of the graph.

        Raises:
            StoreError: nothing was loaded yet.
        """
        schema = self.schema
        if schema is None:
            raise self._empty_error()
        return schema

    def node_label(self, label: str) -> NodeLabel:
        """Return what the schema says of a label.

        Raises:
            StoreError: nothing was loaded yet, or the schema has no such label.
        """
        nodes = self.require_schema().nodes
        if label not in nodes:
            raise StoreError(f"unknown label {label!r} in {self.uri}; expected one of {', '.join(nodes)}")
        return nodes[label]

    def check_there(self, label: str, id_: str) -> None:
        """Check that there is a node.

        Raises:
            StoreError: there is no such label or node.
        """
        ids = self.ids(label)
        if ids.index(id_).as_py() < 0:
            near = "" if label in self.require_schema().roles.users else near_matches(id_, ids.to_pylist())
            raise StoreError(f"no {label} {id_!r} in {self.uri}{near}; nothing was removed")

    def _empty_error(self) -> StoreError:
        """Return the error for a graph that nothing was loaded into."""
        return StoreError(f"{self.uri} is empty; load data first: kgrec load LOADER SOURCE --into {self.uri}")

    def _no_vectors_error(self, label: str) -> StoreError:
        """Return the error for a label without vectors."""
        steps = f"kgrec train {self.uri}, then kgrec publish {self.uri}"
        return StoreError(f"no vectors of {label} in {self.uri}; run {steps}")

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, declare their schema and write them; nothing is written if anything is wrong.

        Into a graph that holds data already, tables may bring any part: relationships may end at nodes that are there,
        and a column that is not given leaves what is there.

        Returns:
            The checked tables.

        Raises:
            DataError: with every problem in the tables.
        """
        checked = self.check(tables)
        self.apply(checked.schema)
        self.upsert(checked)
        return checked

    def check(self, tables: GraphTables, latest: float | None = None) -> GraphTables:
        """Check tables against their schema and, where they end at other nodes, against the graph.

        Args:
            tables: as a loader made them.
            latest: as for `kgrec.data.table_checks.check`.

        Raises:
            DataError: with every problem in the tables.
        """
        schema = self.schema
        if schema is None:
            return check(tables, latest=latest)
        known = {label: self.ids(label) for label in schema.nodes if label in tables.schema.nodes}
        return check(tables, known, latest)

    def snapshot(self) -> GraphSnapshot:
        """Return a frozen, numbered copy of the graph.

        Raises:
            StoreError: nothing was loaded yet.
        """
        self.require_schema()
        return GraphSnapshot.from_tables(self.read())

    def to_pyg(self, vectors: Vectors | None = None) -> HeteroData:
        """Return the graph as torch-geometric `HeteroData`; see `GraphSnapshot.to_pyg`."""
        return self.snapshot().to_pyg(vectors)

    def to_networkx(
        self, node: str | tuple[str, str] | None = None, *, hops: int = 1, limit: int = 10_000
    ) -> networkx.MultiDiGraph:
        """Return a neighborhood, or the whole of a small graph, for networkx; see `kgrec.data.to_networkx`."""
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
    """Check that recommendations are for nodes of the graph.

    Args:
        ids: of the recommendations' users or items, string [n].
        known: whether each is in the graph, bool [n].
        role: "user" or "item".

    Raises:
        StoreError: one is not; names some.
    """
    unknown = ids.filter(pa.array(~known))
    if len(unknown):
        shown = ", ".join(repr(i) for i in unknown.unique().to_pylist()[:5])
        raise StoreError(f"recommendations for {role}s that are not in the graph: {shown}; load them first")
