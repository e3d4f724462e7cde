"""Contract tests of graph stores. The test of a store is a subclass that names it, and the URI of a graph in a folder:

class TestMyStore(CypherStoreContract):  # or GraphStoreContract, where it speaks another language
    engine, uri = MyStore, "mystore:{}/graph"
"""

# ruff: noqa: D102  (the names of tests describe them)
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import Gaps, GraphTables, TableKey
from kgrec.errors import DataError, StoreError, UsageError
from kgrec.recommender import Recommender
from kgrec.store.base import GraphStore
from kgrec.testing.graphs import two_communities

SCHEMA = Schema.parse(
    """
    name: contract
    nodes:
      User: {key: user_id, properties: {age: int, tags: strings, member: bool, face: vector}}
      Shop: {key: id}
      Item: {key: item_id, name: order, properties: {order: string, at: datetime, price: float}}
      Thing: {key: id}
    relationships:
      MATCH: {from: [User, Shop], to: [Item, Thing], properties: {weight: float, timestamp: float, why: strings}}
      in: {from: Item, to: Thing}
    roles: {users: [User, Shop], items: [Item, Thing], behaviours: {MATCH: {weight: weight, time: timestamp}}}
    """
)
"""Reserved words as names, several labels in a role, every property type."""

ODD = "ü😀\x1f\n"
STRINGS = pa.list_(pa.string())
VECTOR = pa.list_(pa.float32())
BOUGHT = ("User", "MATCH", "Item")


def contract_tables() -> GraphTables:
    """Return a small graph with edge cases: unusual ids, nulls, empty values, parallel relationships."""
    nodes = {
        "User": pa.table(
            {
                "user_id": ["a", "b\"'`;", ODD, " "],
                "age": [1, None, 2**53 + 5, -1],
                "tags": pa.array([["x", ""], None, [], ['a"b,]', ODD]], STRINGS),
                "member": [True, None, False, True],
                "face": pa.array([[0.1, -2e-30], None, [3, 4], [0, 1e30]], VECTOR),
            }
        ),
        "Shop": pa.table({"id": ["shop"]}),
        "Item": pa.table(
            {
                "item_id": ["i1", "i2"],
                "order": ["", None],
                "at": pa.array([1_500_000, None], pa.timestamp("us")),
                "price": [1.5, None],
            }
        ),
        "Thing": pa.table({"id": ["t1", "$rows", "\\"]}),
    }
    edges = {
        BOUGHT: pa.table(
            {
                "src": ["a", "a", "a", ODD],
                "dst": ["i1", "i1", "i2", "i1"],
                "weight": [1.0, 2.0, 3.0, 4.0],
                "timestamp": [1.0, 2.0, 1.0, 1.0],
                "why": pa.array([["q"], None, [], [""]], STRINGS),
            }
        ),
        ("Shop", "MATCH", "Thing"): pa.table({"src": ["shop"], "dst": ["\\"], "weight": [1.0], "timestamp": [0.0]}),
        ("Item", "in", "Thing"): pa.table({"src": ["i1"], "dst": ["$rows"]}),
    }
    return GraphTables(SCHEMA, nodes, edges)


def _without_user_a() -> GraphTables:
    tables = contract_tables()
    users = tables.nodes["User"]
    bought = tables.edges[BOUGHT]
    nodes = {**tables.nodes, "User": users.filter(pa.compute.not_equal(users["user_id"], "a"))}
    return GraphTables(SCHEMA, nodes, {**tables.edges, BOUGHT: bought.filter(pa.compute.not_equal(bought["src"], "a"))})


def digest(tables: GraphTables) -> str:
    """Return the digest of a graph that was never in a store."""
    return GraphSnapshot.from_tables(check(tables)).digest


def _row(table: pa.Table, **key: object) -> dict[str, object]:
    """Return the only row in which columns have these values."""
    [row] = [row for row in table.to_pylist() if key.items() <= {n: row[n] for n in key}.items()]
    return dict(row)


def recommendations(users: list[str], items: list[str]) -> pa.Table:
    """Return a table to publish."""
    n = len(users)
    shares = {name: [0.5] * n for name in ("score", *SHARE_COLUMNS)}
    return pa.table({"user_id": users, "item_id": items, "rank": list(range(1, n + 1)), **shares})


class GraphStoreContract:
    """Tests of the GraphStore port.

    Attributes:
        engine: the class.
        uri: of a graph in the folder `{}`.
    """

    engine: ClassVar[Callable[[str, bool], GraphStore]]
    uri: ClassVar[str]

    def open(self, place: Path, read_only: bool = False) -> GraphStore:
        """Open the store of a test; a second call with the same place opens the same graph."""
        return type(self).engine(self.uri.format(place), read_only)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[GraphStore]:
        """An empty store."""
        with self.open(tmp_path) as store:
            yield store

    @pytest.fixture
    def filled(self, store: GraphStore) -> GraphStore:
        """A store that holds the small graph."""
        store.write(contract_tables())
        return store

    def test_new_store_is_empty(self, store: GraphStore) -> None:
        assert store.schema is None
        with pytest.raises(StoreError, match=r"is empty\. Run: kgrec load"):
            store.snapshot()

    def test_written_graph_is_read_back(self, filled: GraphStore) -> None:
        assert filled.schema == SCHEMA
        assert filled.snapshot().digest == digest(contract_tables())

    def test_empty_table_changes_nothing(self, store: GraphStore) -> None:
        tables = contract_tables()
        nodes = {**tables.nodes, "Shop": tables.nodes["Shop"].slice(0, 0)}
        edges = {t: table for t, table in tables.edges.items() if t[0] != "Shop"}
        store.write(GraphTables(SCHEMA, nodes, edges))
        assert store.snapshot().digest == digest(GraphTables(SCHEMA, nodes, edges))

    def test_opened_graph_knows_its_schema(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as store:
            store.write(contract_tables())
        with self.open(tmp_path, read_only=True) as store:
            assert store.schema == SCHEMA
            assert store.snapshot().digest == digest(contract_tables())

    def test_writing_twice_changes_nothing(self, filled: GraphStore) -> None:
        filled.write(contract_tables())
        assert filled.snapshot().digest == digest(contract_tables())

    def test_rows_of_known_keys_are_replaced(self, filled: GraphStore) -> None:
        tables = contract_tables()
        ages = pa.array([None, 7, 8, 9], pa.int64())
        tags = pa.array([[], ["new"], None, ["x"]], STRINGS)
        faces = pa.array([None, [0.5, 1], [3, 4], [0, 1]], VECTOR)
        users = tables.nodes["User"].set_column(1, "age", ages).set_column(2, "tags", tags)
        users = users.set_column(4, "face", faces)
        bought = tables.edges[BOUGHT].set_column(2, "weight", pa.array([1.0, 9.0, 3.0, 4.0]))
        changed = GraphTables(SCHEMA, {**tables.nodes, "User": users}, {**tables.edges, BOUGHT: bought})
        filled.write(changed)
        assert filled.snapshot().digest == digest(changed)

    def test_missing_columns_keep_values(self, filled: GraphStore) -> None:
        """Writing without a column keeps its values; one key exists in the graph, one does not."""
        at = {"src": ["a", "a"], "dst": ["i1", "i3"], "weight": [9.0, 1.0], "timestamp": [1.0, 5.0]}
        items = pa.table({"item_id": ["i1", "i3"], "price": [2.5, 3.5]})
        tables = GraphTables(SCHEMA, {"User": pa.table({"user_id": ["a"]}), "Item": items}, {BOUGHT: pa.table(at)})
        filled.write(tables)
        written = contract_tables()
        read = filled.read()
        assert _row(read.nodes["User"], user_id="a") == _row(written.nodes["User"], user_id="a")
        assert _row(read.nodes["Item"], item_id="i1") == {**_row(written.nodes["Item"], item_id="i1"), "price": 2.5}
        assert _row(read.nodes["Item"], item_id="i3") == {"item_id": "i3", "order": None, "at": None, "price": 3.5}
        assert _row(read.edges[BOUGHT], dst="i1", timestamp=1.0, src="a")["why"] == ["q"]
        assert _row(read.edges[BOUGHT], dst="i1", timestamp=1.0, src="a")["weight"] == 9.0
        assert _row(read.edges[BOUGHT], dst="i3")["why"] is None

    def test_gaps_keep_values(self, filled: GraphStore) -> None:
        """A missing cell keeps its value, and an explicit null in the same column clears one."""
        written, none = contract_tables(), {"age": None, "tags": None, "member": None, "face": None}
        users = written.nodes["User"].set_column(1, "age", pa.nulls(4, pa.int64()))
        users = users.set_column(2, "tags", pa.nulls(4, STRINGS)).set_column(3, "member", pa.nulls(4, pa.bool_()))
        users = users.set_column(4, "face", pa.nulls(4, VECTOR))
        first = np.array([True, False, False, False])
        gaps: dict[TableKey, Gaps] = {"User": dict.fromkeys(none, first)}
        filled.write(GraphTables(SCHEMA, {"User": users}, {}, gaps=gaps))
        read = filled.read().nodes["User"]
        assert _row(read, user_id="a") == _row(written.nodes["User"], user_id="a")
        assert _row(read, user_id=ODD) == {"user_id": ODD, **none}

    def test_tables_without_columns_are_upserted(self, filled: GraphStore) -> None:
        filled.upsert(GraphTables(SCHEMA, {"User": pa.table({"user_id": ["a", "new"]})}, {}))
        read = filled.read().nodes["User"]
        assert _row(read, user_id="a") == _row(contract_tables().nodes["User"], user_id="a")
        assert _row(read, user_id="new")["age"] is None

    def test_unknown_end_is_refused(self, filled: GraphStore) -> None:
        lost = pa.table({"src": ["a", "a"], "dst": ["i1", "i9"], "weight": [1.0, 1.0], "timestamp": [9.0, 9.0]})
        with pytest.raises(DataError, match=r"'i9'; expected the key of a Item"):
            filled.write(GraphTables(SCHEMA, {}, {BOUGHT: lost}))
        assert filled.snapshot().digest == digest(contract_tables())

    def test_rows_of_new_keys_are_added(self, filled: GraphStore) -> None:
        tables = contract_tables()
        items = pa.table({"item_id": ["i1", "i3"], "order": ["changed", "new"]})
        later = pa.table({"src": ["a", "a"], "dst": ["i1", "i3"], "weight": [1.0, 1.0], "timestamp": [3.0, 3.0]})
        filled.write(GraphTables(SCHEMA, {"User": tables.nodes["User"], "Item": items}, {BOUGHT: later}))
        snapshot = filled.snapshot()
        assert snapshot.nodes["Item"].column("item_id").to_pylist() == ["i1", "i2", "i3"]
        assert snapshot.nodes["Item"].column("order").to_pylist() == ["changed", None, "new"]
        assert len(snapshot.edges[BOUGHT]) == 6

    def test_wrong_data_changes_nothing(self, filled: GraphStore) -> None:
        lost = pa.table({"src": ["nobody"], "dst": ["i1"], "weight": [1.0], "timestamp": [9.0]})
        wrong = GraphTables(SCHEMA, contract_tables().nodes, {BOUGHT: lost})
        with pytest.raises(DataError, match="nobody"):
            filled.write(wrong)
        assert filled.snapshot().digest == digest(contract_tables())

    def test_schema_can_grow(self, filled: GraphStore) -> None:
        data = SCHEMA.to_dict()
        data["nodes"]["User"]["properties"]["city"] = "string"
        data["nodes"]["Maker"] = {"key": "id"}
        data["relationships"]["MADE_BY"] = {"from": "Item", "to": "Maker"}
        data["relationships"]["in"]["to"] = ["Thing", "Maker"]
        larger = Schema.from_dict(data)
        filled.apply(larger)
        filled.apply(larger)
        assert filled.schema == larger
        users = pa.table({"user_id": ["a"], "city": ["Riga"]})
        nodes = {"User": users, "Item": pa.table({"item_id": ["i1"]}), "Maker": pa.table({"id": ["m"]})}
        made = pa.table({"src": ["i1"], "dst": ["m"]})
        bought = pa.table({"src": ["a"], "dst": ["i1"], "weight": [1.0], "timestamp": [1.0]})
        edges = {BOUGHT: bought, ("Item", "MADE_BY", "Maker"): made, ("Item", "in", "Maker"): made}
        filled.write(GraphTables(larger, nodes, edges))
        snapshot = filled.snapshot()
        assert snapshot.nodes["User"].column("city").to_pylist() == [None, "Riga", None, None]
        assert len(snapshot.edges["Item", "in", "Maker"]) == len(snapshot.edges["Item", "in", "Thing"]) == 1

    def test_smaller_schema_loses_nothing(self, filled: GraphStore) -> None:
        data = SCHEMA.to_dict()
        data["nodes"]["User"]["properties"] = {}
        del data["relationships"]["in"]
        filled.apply(Schema.from_dict(data))
        assert filled.snapshot().digest == digest(contract_tables())

    @pytest.mark.parametrize(
        ("part", "name", "change", "message"),
        [
            ("nodes", "User", {"properties": {"age": "string"}}, "User.age: int there, string here"),
            ("nodes", "Shop", {"key": "shop_id"}, "Shop: the key is id there, shop_id here"),
        ],
    )
    def test_contradicting_schema_is_refused(
        self, filled: GraphStore, part: str, name: str, change: dict[str, object], message: str
    ) -> None:
        data = SCHEMA.to_dict()
        data[part][name].update(change)
        with pytest.raises(StoreError, match=message):
            filled.apply(Schema.from_dict(data))
        assert filled.snapshot().digest == digest(contract_tables())

    def test_vectors_are_found_by_cosine(self, filled: GraphStore) -> None:
        vectors = np.array([[1, 0], [5, 5], [0, 0]], dtype=np.float32)
        filled.write_vectors("Thing", pa.array(["t1", "$rows", "\\"]), vectors)
        nearest = filled.nearest("Thing", np.array([0, 2], dtype=np.float32), 5)
        assert nearest["id"].tolist() == ["$rows", "t1"]
        assert nearest["name"].tolist() == ["$rows", "t1"]
        np.testing.assert_allclose(nearest["score"], [0.5**0.5, 0.0], atol=1e-6)
        np.testing.assert_array_equal(filled.vector("Thing", "$rows"), [5, 5])
        assert filled.vector("Thing", "\\") is None
        assert filled.snapshot().digest == digest(contract_tables())

    def test_vectors_are_replaced_by_another_length(self, filled: GraphStore) -> None:
        filled.write_vectors("Item", pa.array(["i1", "i2"]), np.eye(2, dtype=np.float32))
        filled.write_vectors("Item", pa.array(["i2"]), np.ones((1, 3), dtype=np.float32))
        assert filled.nearest("Item", np.ones(3, dtype=np.float32), 5)["id"].tolist() == ["i2"]

    def test_nearest_without_vectors_says_so(self, filled: GraphStore) -> None:
        with pytest.raises(StoreError, match="Item"):
            filled.nearest("Item", np.ones(3, dtype=np.float32), 5)
        with pytest.raises(StoreError, match=r"unknown label 'Itm' in .*; expected one of User, Shop, Item, Thing"):
            filled.nearest("Itm", np.ones(3, dtype=np.float32), 5)

    def test_publish_replaces_recommendations(self, filled: GraphStore) -> None:
        assert filled.published() is None
        filled.publish(recommendations(["a"], ["i1"]), "first")
        assert filled.published() == "first"
        filled.publish(recommendations(["a", "shop", "a"], ["i2", "t1", "\\"]), "second")
        assert filled.published() == "second"
        assert filled.snapshot().digest == digest(contract_tables())

    def test_publish_for_unknown_user_changes_nothing(self, filled: GraphStore) -> None:
        filled.publish(recommendations(["a"], ["i1"]), "first")
        with pytest.raises(StoreError, match="users that are not in the graph: 'nobody'"):
            filled.publish(recommendations(["a", "nobody"], ["i1", "i1"]), "second")
        assert filled.published() == "first"

    def test_publish_replaces_lists_and_vectors_together(self, filled: GraphStore) -> None:
        ids, vectors = pa.array(["i1", "i2"]), np.eye(2, dtype=np.float32)
        filled.publish(recommendations(["a"], ["i1"]), "first", {"Item": (ids, vectors)})
        with pytest.raises(StoreError, match="'nobody'"):
            filled.publish(recommendations(["nobody"], ["i1"]), "second", {"Item": (ids, vectors[::-1])})
        vector = filled.vector("Item", "i1")
        assert vector is not None
        assert vector.tolist() == [1.0, 0.0]
        filled.publish(recommendations(["a"], ["i1"]), "second", {"Item": (ids, vectors[::-1])})
        vector = filled.vector("Item", "i1")
        assert vector is not None
        assert (filled.published(), vector.tolist()) == ("second", [0.0, 1.0])

    def test_unpublish_keeps_loaded_data(self, filled: GraphStore) -> None:
        filled.publish(recommendations(["a"], ["i1"]), "first")
        filled.write_vectors("Item", pa.array(["i1", "i2"]), np.eye(2, dtype=np.float32))
        filled.unpublish()
        assert filled.published() is None
        with pytest.raises(StoreError, match="no vectors of Item"):
            filled.vector("Item", "i1")
        assert filled.snapshot().digest == digest(contract_tables())

    def test_remove_deletes_node_edges_and_vector(self, tmp_path: Path, filled: GraphStore) -> None:
        filled.publish(recommendations(["a", "shop", "a"], ["i1", "t1", "\\"]), "first")
        filled.write_vectors("User", pa.array(["a", ODD]), np.eye(2, dtype=np.float32))
        filled.write_vectors("Item", pa.array(["i1", "i2"]), np.eye(2, dtype=np.float32))
        with self.open(tmp_path, read_only=True) as reader:
            assert filled.remove("User", "a") == {"recommendations": 2, "vectors": 1}
            assert reader.snapshot().digest == filled.snapshot().digest == digest(_without_user_a())
        assert filled.schema == SCHEMA
        assert filled.published() == "first"
        assert filled.vector("User", "a") is None
        np.testing.assert_array_equal(filled.vector("User", ODD), [0, 1])
        assert filled.nearest("Item", np.ones(2, dtype=np.float32), 5)["id"].tolist() == ["i1", "i2"]
        assert filled.remove("Thing", "t1") == {"recommendations": 1, "vectors": 0}
        filled.write(contract_tables())
        assert filled.snapshot().digest == digest(contract_tables())

    def test_remove_unknown_node_fails(self, tmp_path: Path, filled: GraphStore) -> None:
        with pytest.raises(StoreError, match=r"no Shop 'shpo' in .*; nothing was removed"):
            filled.remove("Shop", "shpo")
        with pytest.raises(StoreError, match="unknown label 'Shp'"):
            filled.remove("Shp", "shop")
        with self.open(tmp_path, read_only=True) as reader, pytest.raises(StoreError, match="read-only"):
            reader.remove("Shop", "shop")
        assert filled.snapshot().digest == digest(contract_tables())

    def test_ids_are_the_keys_of_a_label(self, filled: GraphStore) -> None:
        assert sorted(filled.ids("User").to_pylist()) == sorted(contract_tables().nodes["User"]["user_id"].to_pylist())
        assert len(filled.ids("Shop")) == 1

    def test_relationships_may_end_at_stored_nodes(self, filled: GraphStore) -> None:
        more = pa.table({"src": ["a"], "dst": ["i2"], "weight": [1.0], "timestamp": [9.0]})
        filled.write(GraphTables(SCHEMA, {}, {BOUGHT: more}))
        filled.write(GraphTables(SCHEMA, {"Thing": pa.table({"id": ["t9"]})}, {}))
        assert len(filled.snapshot().edges[BOUGHT]) == 5
        assert "t9" in filled.ids("Thing").to_pylist()

    def test_open_readers_see_a_finished_write(self, tmp_path: Path, filled: GraphStore) -> None:
        with self.open(tmp_path, read_only=True) as one, self.open(tmp_path, read_only=True) as other:
            before = digest(contract_tables())
            assert one.snapshot().digest == other.snapshot().digest == before
            more = pa.table({"src": ["a"], "dst": ["i2"], "weight": [1.0], "timestamp": [9.0]})
            filled.write(GraphTables(SCHEMA, {}, {BOUGHT: more}))
            after = filled.snapshot().digest
            assert after != before
            assert one.snapshot().digest == other.snapshot().digest == after

    def test_readers_see_writes_atomically(self, tmp_path: Path, filled: GraphStore) -> None:
        seen: list[str] = []
        written, done = [filled.snapshot().digest], threading.Event()

        def read() -> None:
            with self.open(tmp_path, read_only=True) as reader:
                while not done.is_set():
                    seen.append(reader.snapshot().digest)

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                for time in range(10, 15):
                    thing = {"Thing": pa.table({"id": [f"t{time}"]})}
                    more = pa.table({"src": ["a"], "dst": ["i2"], "weight": [1.0], "timestamp": [float(time)]})
                    filled.write(GraphTables(SCHEMA, thing, {BOUGHT: more}))
                    written.append(filled.snapshot().digest)
            finally:
                done.set()
            for reader in readers:
                reader.result()
        assert seen
        assert set(seen) <= set(written)

    def test_read_only_store_refuses_writes(self, tmp_path: Path, filled: GraphStore) -> None:
        with self.open(tmp_path, read_only=True) as reader:
            with pytest.raises(StoreError, match="read-only"):
                reader.write(contract_tables())
            with pytest.raises(StoreError, match="read-only"):
                reader.publish(recommendations(["a"], ["i1"]), "first")

    def test_fit_on_store_equals_fit_on_tables(self, store: GraphStore) -> None:
        tables = two_communities()
        store.write(tables)
        expected = _top_ten(GraphSnapshot.from_tables(check(tables)))
        pd.testing.assert_frame_equal(_top_ten(store.snapshot()), expected)

    def test_to_networkx_returns_neighborhood_or_graph(self, filled: GraphStore) -> None:
        pytest.importorskip("networkx")
        graph = filled.to_networkx()
        assert graph.number_of_nodes() == 10
        assert graph.number_of_edges() == 6
        near = filled.to_networkx(("Item", "i2"))
        assert set(near) == {("Item", "i2"), ("User", "a")}
        assert near.edges[("User", "a"), ("Item", "i2"), 0]["weight"] == 3.0
        with pytest.raises(UsageError, match="10 nodes; expected at most 9"):
            filled.to_networkx(limit=9)

    def test_to_pyg_has_every_edge(self, filled: GraphStore) -> None:
        assert filled.to_pyg()[BOUGHT].edge_index.shape == (2, 4)


class CypherStoreContract(GraphStoreContract):
    """Further tests of stores with Cypher; a subclass names the engine and the URI."""

    def test_cypher_takes_parameters_and_returns_a_frame(self, filled: GraphStore) -> None:
        query = "MATCH (u:User)-[r:`MATCH`]->(i:Item) WHERE u.user_id IN $ids RETURN i.item_id AS id, r.weight AS w"
        frame = filled.cypher(query + " ORDER BY w", {"ids": ["a", ODD]})
        assert frame["id"].tolist() == ["i1", "i1", "i2", "i1"]
        assert frame["w"].tolist() == [1.0, 2.0, 3.0, 4.0]

    @pytest.mark.parametrize(
        "query", ["CREATE (:Thing {id: 'x'})", "MATCH (u:User) DETACH DELETE u", "COMMIT; CREATE (:Thing {id: 'x'})"]
    )
    def test_cypher_does_not_write_unless_asked(self, filled: GraphStore, query: str) -> None:
        with pytest.raises(StoreError) as caught:
            filled.cypher(query)
        assert query in str(caught.value)
        assert filled.snapshot().digest == digest(contract_tables())

    def test_cypher_writes_when_asked(self, filled: GraphStore) -> None:
        filled.cypher("CREATE (:Thing {id: $id})", {"id": ODD}, write=True)
        assert len(filled.cypher("MATCH (t:Thing) WHERE t.id = $id RETURN t.id", {"id": ODD})) == 1

    @pytest.mark.parametrize("query", ["MATCH (u:User", "MATCH (n:Nothing) RETURN n", "MATCH (u:User) RETURN $lost"])
    def test_wrong_query_is_shown(self, filled: GraphStore, query: str) -> None:
        with pytest.raises(StoreError) as caught:
            filled.cypher(query)
        assert query in str(caught.value)

    def test_wrong_query_error_has_a_caret(self, filled: GraphStore) -> None:
        with pytest.raises(StoreError) as caught:
            filled.cypher("MATCH (u:User)\nRETURN u.user_id AS id,, 1")
        query, caret = str(caught.value).splitlines()[3:5]
        assert query == "  RETURN u.user_id AS id,, 1"
        assert caret.strip() == "^"
        assert 20 <= caret.index("^") <= 28

    def test_slow_query_is_stopped(self, filled: GraphStore) -> None:
        query = "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b RETURN sum(a % 7 + b) AS s"
        with pytest.raises(StoreError, match=r"stopped after 0.5 s") as caught:
            filled.cypher(query, time_limit=0.5)
        assert query in str(caught.value)

    def test_query_above_the_row_limit_fails(self, filled: GraphStore) -> None:
        with pytest.raises(StoreError, match="more than 1,000 rows"):
            filled.cypher("UNWIND range(1, 2000) AS a RETURN a", row_limit=1000)

    def test_published_recommendations_are_relationships(self, filled: GraphStore) -> None:
        filled.publish(recommendations(["a"], ["i1"]), "first")
        filled.publish(recommendations(["a", "shop", "a"], ["i2", "t1", "\\"]), "the 'second' \\")
        query = "MATCH (now:Published) MATCH ()-[r:RECOMMENDED]->(i) WHERE r.release = now.release "
        frame = filled.cypher(query + "RETURN r.rank AS rank, r.run AS run ORDER BY rank")
        assert frame["rank"].tolist() == [1, 2, 3]
        assert set(frame["run"]) == {"the 'second' \\"}
        assert len(filled.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN r.rank")) == 3

    def test_vectors_are_nodes(self, filled: GraphStore) -> None:
        filled.write_vectors("Item", pa.array(["i1"]), np.array([[1, 2]], dtype=np.float32))
        frame = filled.cypher("MATCH (v:ItemVector) RETURN v.id AS id, v.embedding AS embedding")
        assert frame["id"].tolist() == ["i1"]
        assert list(frame["embedding"][0]) == [1.0, 2.0]


def _top_ten(snapshot: GraphSnapshot) -> pd.DataFrame:
    model = Recommender(Config(signals=("popularity", "ease"), seed=3)).fit(snapshot)
    return model.recommend(snapshot.users.ids, k=10)
