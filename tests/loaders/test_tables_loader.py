from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, StoreError, UsageError
from kgrec.store import open_graph
from loaders.tables import TablesLoader

COMMERCE = Schema.load("commerce")
ORDERS = pd.DataFrame(
    {
        "user_id": ["u1", "u1", "u2"],
        "product_id": ["p1", "p2", "p1"],
        "quantity": [1, 2, 1],
        "price": [3.5, np.nan, 3.0],
        "timestamp": [10, 20, 30],
    }
)


def loaded(mapping: Any, schema: Schema = COMMERCE) -> GraphTables:
    return check(TablesLoader().load(mapping, schema))


def complaint(mapping: Any, schema: Schema = COMMERCE) -> str:
    with pytest.raises(DataError) as caught:
        loaded(mapping, schema)
    return str(caught.value)


def orders(**changes: Any) -> dict[str, Any]:
    return {"relationships": {"PURCHASED": {"source": ORDERS, **changes}}}


def test_frame_with_schema_column_names_loads() -> None:
    before = ORDERS.copy()
    graph = loaded(orders())
    assert graph.edges["User", "PURCHASED", "Product"].to_pylist()[1] == {
        "src": "u1",
        "dst": "p2",
        "quantity": 2,
        "price": None,
        "timestamp": 20.0,
    }
    assert graph.nodes["User"].column("user_id").to_pylist() == ["u1", "u2"]
    pd.testing.assert_frame_equal(ORDERS, before)


def test_mapping_paths_are_relative_to_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(
        'sku,name,tags,domain\np1,"Pens, blue",ink|blue,office\np2,Alien,film,films\np3,Jaws,,films\n'
    )
    (tmp_path / "brands.tsv").write_text("product_id\tbrand_id\np1\tBic\n")
    (tmp_path / "users.jsonl").write_text(
        '{"user_id": "u1", "country": "NO", "joined": "2024-05-01"}\n{"user_id": "u2"}\n'
    )
    pq.write_table(pa.Table.from_pandas(ORDERS.rename(columns={"user_id": "customer"})), tmp_path / "orders.parquet")
    (tmp_path / "shop.yaml").write_text(
        "nodes:\n"
        "  Product: {source: products.csv, key: sku, properties: {title: name}, list_separator: '|'}\n"
        "  User: {source: users.jsonl}\n"
        "relationships:\n"
        "  PURCHASED: {source: orders.parquet, from: customer}\n"
        "  MADE_BY: {source: brands.tsv}\n"
    )
    graph = loaded(tmp_path / "shop.yaml")
    products = graph.nodes["Product"]
    assert products.column("title").to_pylist() == ["Pens, blue", "Alien", "Jaws"]
    assert products.column("tags").to_pylist() == [["ink", "blue"], ["film"], None]
    assert graph.nodes["User"].column("joined")[0].as_py().year == 2024
    assert graph.nodes["Brand"].column("brand_id").to_pylist() == ["Bic"]
    assert graph.edges["User", "PURCHASED", "Product"].num_rows == 3


def test_integer_ids_stay_integers() -> None:
    frame = ORDERS.assign(user_id=[1.0, 1.0, 2.0], product_id=pd.Categorical(["a", "b", "a"]))
    graph = loaded({"relationships": {"PURCHASED": {"source": frame}}})
    assert graph.nodes["User"].column("user_id").to_pylist() == ["1", "2"]
    assert graph.nodes["Product"].column("product_id").to_pylist() == ["a", "b"]


def test_type_may_have_several_sources_and_labels(tmp_path: Path, market_schema: Schema) -> None:
    (tmp_path / "guests.csv").write_text("who,what,price,at\ng1,b1,2.5,2024-01-02\n")
    members = pa.table({"user_id": ["u1"], "movie_id": ["m1"], "price": [3], "at": ["2024-01-01"]})
    more = pa.table({"user_id": ["u2"], "movie_id": ["m1"], "price": [1.5], "at": ["2024-01-03"]})
    to_movie = {"from_label": "User", "to_label": "Movie"}
    guests = {"source": str(tmp_path / "guests.csv"), "from": "who", "to": "what"}
    bought = [
        {"source": members, **to_movie},
        {"source": more, **to_movie},
        {**guests, "from_label": "Guest", "to_label": "Book"},
    ]
    graph = loaded({"relationships": {"BOUGHT": bought}}, market_schema)
    assert graph.edges["User", "BOUGHT", "Movie"].column("price").to_pylist() == [3.0, 1.5]
    assert graph.edges["Guest", "BOUGHT", "Book"].num_rows == 1
    message = complaint({"relationships": {"BOUGHT": {"source": members, "to_label": "Film"}}}, market_schema)
    assert "relationships.BOUGHT.from_label: found nothing; expected one of User, Guest" in message
    assert "relationships.BOUGHT.to_label: found unknown label 'Film'; expected one of Movie, Book" in message


def test_load_without_schema_fails() -> None:
    with pytest.raises(UsageError, match="the tables loader needs a schema"):
        TablesLoader().load(orders())


def test_missing_mapping_file_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no mapping file .*; expected a YAML file, or a dictionary"):
        TablesLoader().load(tmp_path / "gone.yaml", COMMERCE)


def test_mapping_file_not_yaml_fails(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("nodes:\n  Product: {source: x\nrelationships: {}\n")
    assert "shop.yaml:3: found" in complaint(tmp_path / "shop.yaml")


@pytest.mark.parametrize("text", ["", "just words"])
def test_mapping_file_without_mapping_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.yaml").write_text(text)
    assert "expected" in complaint(tmp_path / "shop.yaml")


def test_unknown_mapping_keys_are_all_reported() -> None:
    message = complaint(
        {
            "node": {},
            "nodes": {"Product": {"file": "x.csv"}},
            "relationships": {"PURCHASED": {"source": ORDERS, "form": "user_id", "list_separator": ""}},
        }
    )
    assert "mapping: node: found unknown key 'node'; expected one of nodes, relationships" in message
    assert "mapping: nodes.Product: found nothing; expected the key 'source'" in message
    assert "nodes.Product.file: found unknown key 'file'; expected one of source, key, properties" in message
    assert "found unknown key 'form'; expected one of source, from, to" in message
    assert "list_separator: found ''; expected string should have at least 1 character" in message


def test_unknown_names_in_mapping_are_all_reported() -> None:
    message = complaint(
        {
            "nodes": {
                "Prodct": {"source": ORDERS},
                "Product": {"source": ORDERS, "key": "produkt_id", "properties": {"titel": "quantity", "title": "nme"}},
            },
            "relationships": {
                "PURCHASED": {"source": ORDERS, "from": "usr_id"},
                "BOUGHT": {"source": ORDERS},
            },
        }
    )
    assert message.startswith("6 problems in the data:")
    assert "nodes.Prodct: found unknown label 'Prodct'; expected one of User, Product" in message
    assert "near matches: Product" in message
    assert "nodes.Product.key: found column 'produkt_id', which is not in the table of nodes.Product" in message
    assert "near matches: product_id" in message
    assert "nodes.Product.properties: found unknown property 'titel'; expected one of title" in message
    assert "nodes.Product.properties.title: found column 'nme'" in message
    assert "relationships.PURCHASED.from: found column 'usr_id'" in message
    assert "relationships.BOUGHT: found unknown relationship type 'BOUGHT'; expected one of VIEWED" in message


def test_behavior_without_time_and_weight_is_refused() -> None:
    message = complaint({"relationships": {"PURCHASED": {"source": ORDERS[["user_id", "product_id"]]}}})
    assert (
        "PURCHASED.properties: found no column for 'quantity'; expected a column; the schema's roles require it"
        in message
    )
    assert "PURCHASED.properties: found no column for 'timestamp'" in message


def test_text_list_needs_a_separator() -> None:
    frame = pd.DataFrame({"product_id": ["p1"], "tags": ["a|b"]})
    message = complaint({"nodes": {"Product": {"source": frame}}, **orders()})
    assert "nodes.Product: found a list written as text; expected list_separator" in message


def test_vectors_load_from_frames_arrays_and_text(tmp_path: Path) -> None:
    data = COMMERCE.to_dict()
    data["nodes"]["Product"]["properties"]["picture"] = "vector"
    schema = Schema.from_dict(data)
    arrays = pd.DataFrame({"product_id": ["p1", "p2"], "picture": [np.array([1, 2.5]), None]})
    (tmp_path / "products.csv").write_text("product_id,picture\np1,1 2.5\np2,\n")
    for source in ({"source": arrays}, {"source": tmp_path / "products.csv", "list_separator": " "}):
        graph = loaded({"nodes": {"Product": source}, **orders()}, schema)
        assert graph.nodes["Product"].column("picture").to_pylist() == [[1, 2.5], None]


@pytest.mark.parametrize("separator", [{}, {"list_separator": "|"}])
def test_one_invalid_vector_is_one_problem(tmp_path: Path, separator: dict[str, str]) -> None:
    data = COMMERCE.to_dict()
    data["nodes"]["Product"]["properties"]["picture"] = "vector"
    vectors = ["[1, 2.5]", '"abc"', "[3, 4]", "[5, 6]"]
    lines = [f'{{"product_id": "p{number}", "picture": {vector}}}' for number, vector in enumerate(vectors)]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    products = {"Product": {"source": tmp_path / "p.jsonl", **separator}}
    message = complaint({"nodes": products, **orders()}, Schema.from_dict(data))
    assert "p.jsonl:2: picture: found ['abc']; expected a value of type vector" in message
    assert message.count("picture") == 1


def test_lists_of_frames_and_json_need_no_separator(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"product_id": 1, "tags": ["a", "b"]}\n{"product_id": "p2", "tags": null}\n')
    frame = ORDERS.assign(product_id=["1", "p2", "1"])
    products = {"Product": {"source": tmp_path / "p.jsonl"}}
    graph = loaded({"nodes": products, "relationships": {"PURCHASED": {"source": frame}}})
    assert graph.nodes["Product"].column("tags").to_pylist() == [["a", "b"], None]
    assert graph.nodes["Product"].column("product_id").to_pylist() == ["1", "p2"]


def test_list_ids_are_refused() -> None:
    frame = pa.table({"user_id": [["u1"]], "product_id": ["p1"], "quantity": [1], "timestamp": [1]})
    message = complaint({"relationships": {"PURCHASED": {"source": frame}}})
    assert "PURCHASED.from: found column 'user_id', which holds lists or objects; expected a column of ids" in message


def test_values_are_reported_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        'user_id,product_id,quantity,timestamp\nu1,"p\n1",two,5\nu2,p1,inf,9e15\n,p1,1,5\n'
    )
    message = complaint(orders(source=tmp_path / "orders.csv"))
    assert "orders.csv:2: quantity: found 'two'; expected a value of type int" in message
    assert "orders.csv:4: quantity: found 'inf'; expected a value of type int" in message
    assert "orders.csv:4: timestamp: found 9000000000000000.0; expected epoch seconds" in message
    assert "orders.csv:5: user_id: found None; expected an id" in message


def test_edge_to_unknown_node_is_refused() -> None:
    products = pd.DataFrame({"product_id": ["p1"]})
    message = complaint({"nodes": {"Product": {"source": products}}, **orders()})
    assert "the table of relationships.PURCHASED:2: product_id: found 'p2'; expected the key of a Product" in message


def test_unreadable_sources_are_all_reported(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("x")
    (tmp_path / "b.csv").write_text("user_id,product_id\n1\n")
    (tmp_path / "c.parquet").write_text("no parquet")
    (tmp_path / "d.jsonl").write_bytes(b'{"user_id": 1}\n[1]\n{"user_id": \n\xff\n')
    (tmp_path / "e.jsonl").write_text("\n")
    sources = [*sorted(tmp_path.iterdir()), tmp_path / "gone.csv", 5, pd.DataFrame({"a": [1, "x"]}), "plain"]
    message = complaint({"relationships": {"PURCHASED": [{"source": source} for source in sources]}})
    assert "a.xlsx: found a file that ends in '.xlsx'; expected one of .csv, .tsv, .parquet, .jsonl" in message
    assert "b.csv:2: found 1 field; expected 2 fields" in message
    assert "c.parquet: found a file that Arrow cannot read" in message
    assert "d.jsonl:2: found a JSON list; expected one JSON object per line" in message
    assert "d.jsonl:3: found text that is not JSON (Expecting value at position 13)" in message
    assert "d.jsonl:4: found byte 0xff at position 1, which is not UTF-8" in message
    assert "e.jsonl: found an empty file; expected one JSON object per line" in message
    assert "gone.csv: found no such file or directory; expected a readable file" in message
    assert "found a source of type int; expected a file, a pandas or polars DataFrame, an Arrow table, or" in message
    assert ":2: a: found 'x'; expected values of one type" in message
    assert "plain: found a file without an ending" in message


def test_frame_with_duplicate_column_is_refused() -> None:
    frame = pd.concat([ORDERS, ORDERS[["user_id"]]], axis=1)
    assert "user_id: found the column twice; expected each column once" in complaint(orders(source=frame))


def test_source_used_twice_is_reported_once(tmp_path: Path) -> None:
    sources = [{"source": tmp_path / "gone.csv"}, {"source": str(tmp_path / "gone.csv")}]
    assert complaint({"relationships": {"PURCHASED": sources}}).startswith("1 problem in the data:")


BOUGHT = (
    "MATCH (u:User)-[r:PURCHASED]->(p:Product) RETURN u.user_id AS user_id, "
    "p.product_id AS product_id, r.quantity AS quantity, r.price AS cost, r.timestamp AS at"
)
SOLD = """
SELECT ?user_id ?product_id ?quantity ?at WHERE {
  ?r rdf:subject/:user_id ?user_id ; rdf:object/:product_id ?product_id ; :quantity ?quantity ; :timestamp ?at
}
"""
COLUMNS = {"timestamp": "at"}


def asked(graph: object, query: object, **more: Any) -> dict[str, Any]:
    return orders(source={"graph": graph, "query": query}, **more)


def test_cypher_query_is_a_source(tmp_path: Path) -> None:
    with open_graph(tmp_path / "shop.lbug", create=True) as store:
        store.write(loaded(orders()))
    (tmp_path / "mapping.yaml").write_text(
        yaml.safe_dump(asked("shop.lbug", BOUGHT, properties={**COLUMNS, "price": "cost"}))
    )
    [bought] = loaded(tmp_path / "mapping.yaml").edges.values()
    assert sorted(map(tuple, bought.select(["src", "dst", "price"]).to_pandas().fillna(0).to_numpy().tolist())) == [
        ("u1", "p1", 3.5),
        ("u1", "p2", 0.0),
        ("u2", "p1", 3.0),
    ]


def test_sparql_query_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyoxigraph")
    monkeypatch.chdir(tmp_path)
    with open_graph("oxigraph:shop", create=True) as store:
        store.write(loaded(orders()))
    [bought] = loaded(asked("oxigraph:shop", SOLD, properties=COLUMNS)).edges.values()
    assert sorted(zip(*bought.select(["src", "dst"]).to_pydict().values(), strict=True)) == [
        ("u1", "p1"),
        ("u1", "p2"),
        ("u2", "p1"),
    ]


def test_failing_query_source_says_why(tmp_path: Path) -> None:
    graph = str(tmp_path / "shop.lbug")
    assert f"found no graph at {graph}; expected one that is there" in complaint(asked(graph, BOUGHT))
    with open_graph(graph, create=True) as store:
        store.write(loaded(orders()))
    assert "found a mapping with graph, cypher; expected graph and query, both texts" in complaint(
        orders(source={"graph": graph, "cypher": BOUGHT})
    )
    with pytest.raises(StoreError, match=r"(?s)in the query:\s+MATCH \(n:Nothing\) RETURN n"):
        loaded(asked(graph, "MATCH (n:Nothing) RETURN n"))
    with pytest.raises(StoreError, match="CREATE"):
        loaded(asked(graph, "CREATE (:User {user_id: 'x'})"))
    assert "found column 'user_id', which is not in the table of" in complaint(
        asked(graph, "MATCH (u:User) RETURN u.user_id AS id")
    )
