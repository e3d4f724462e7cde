"""A second load replaces the given values and keeps all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import kgrec
from kgrec._util.notices import DataNotice
from kgrec.data.schema import Schema
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.store import open_graph
from kgrec.store.base import GraphStore

SHOP = Schema.parse(
    """
    name: shop
    nodes:
      Customer: {key: cid, properties: {country: string}}
      Product: {key: sku, name: title, properties: {title: string, price: float, tags: strings}}
    relationships:
      BOUGHT: {from: Customer, to: Product, properties: {at: float, note: string}}
      LIKES: {from: Customer, to: Product, properties: {stars: int, note: string}}
    roles: {users: Customer, items: Product, behaviours: {BOUGHT: {time: at}}}
    """
)
PRODUCTS = pa.table({"sku": ["p1", "p2"], "title": ["Ladle", "Whisk"], "price": [4.5, 3.0], "tags": [["a"], ["b"]]})
BOUGHT = pa.table({"cid": ["c1", "c2"], "sku": ["p1", "p2"], "at": [1.0, 2.0], "note": ["gift", "fine"]})
CUSTOMERS = pa.table({"cid": ["c1", "c2"], "country": ["LV", "EE"]})
LIKES = pa.table({"cid": ["c1"], "sku": ["p1"], "stars": [5], "note": ["shiny"]})


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    """A graph with a catalog, customers and the first week's behaviors."""
    nodes = {"Product": {"source": PRODUCTS}, "Customer": {"source": CUSTOMERS}}
    with kgrec.open(tmp_path / "shop.lbug", create=True) as graph:
        load(graph, nodes=nodes, relationships={"BOUGHT": {"source": BOUGHT}, "LIKES": {"source": LIKES}})
        yield graph


def load(graph: GraphStore, **mapping: Any) -> None:
    kgrec.load("tables", {"relationships": {"BOUGHT": {"source": BOUGHT}}, **mapping}, into=graph, schema=SHOP)


def rows(graph: GraphStore, name: str) -> list[dict[str, Any]]:
    tables = graph.read()
    parts = [tables.nodes[name]] if name in tables.nodes else [t for key, t in tables.edges.items() if key[1] == name]
    return sorted(parts[0].to_pylist(), key=lambda row: [str(value) for value in row.values()])


def test_loading_only_behaviors_keeps_properties(shop: GraphStore) -> None:
    before = rows(shop, "Product"), rows(shop, "Customer")
    week = pd.DataFrame({"cid": ["c1", "c2"], "sku": ["p2", "p1"], "at": [8.0, 9.0]})
    load(shop, relationships={"BOUGHT": {"source": week}})
    assert (rows(shop, "Product"), rows(shop, "Customer")) == before
    assert len(rows(shop, "BOUGHT")) == 4


def test_missing_columns_keep_node_properties(shop: GraphStore) -> None:
    cheaper = pd.DataFrame({"sku": ["p1", "p3"], "price": [1.0, 7.0]})
    load(shop, nodes={"Product": {"source": cheaper}})
    assert rows(shop, "Product") == [
        {"sku": "p1", "title": "Ladle", "price": 1.0, "tags": ["a"]},
        {"sku": "p2", "title": "Whisk", "price": 3.0, "tags": ["b"]},
        {"sku": "p3", "title": None, "price": 7.0, "tags": None},
    ]


def test_missing_columns_keep_edge_properties(shop: GraphStore) -> None:
    stars = pa.table({"cid": ["c1"], "sku": ["p1"], "stars": [1]})
    again = BOUGHT.select(["cid", "sku", "at"])
    load(shop, relationships={"LIKES": {"source": stars}, "BOUGHT": {"source": again}})
    assert rows(shop, "LIKES") == [{"src": "c1", "dst": "p1", "stars": 1, "note": "shiny"}]
    assert [row["note"] for row in rows(shop, "BOUGHT")] == ["gift", "fine"]


def test_given_null_replaces_the_value(shop: GraphStore) -> None:
    load(shop, nodes={"Product": {"source": pa.table({"sku": ["p1"], "title": pa.nulls(1, pa.string())})}})
    assert rows(shop, "Product")[0] == {"sku": "p1", "title": None, "price": 4.5, "tags": ["a"]}


def test_checked_tables_are_written_like_a_source(shop: GraphStore) -> None:
    mapping = {
        "nodes": {"Product": {"source": PRODUCTS.select(["sku"])}},
        "relationships": {"BOUGHT": {"source": BOUGHT}},
    }
    before = rows(shop, "Product")
    shop.write(kgrec.load("tables", mapping, schema=SHOP))
    assert rows(shop, "Product") == before


def test_sources_of_a_type_may_have_other_columns(shop: GraphStore) -> None:
    noted = pa.table({"cid": ["c2"], "sku": ["p1"], "note": ["dull"]})
    starred = pa.table({"cid": ["c1", "c2"], "sku": ["p1", "p1"], "stars": [2, 3]})
    load(shop, relationships={"LIKES": [{"source": noted}, {"source": starred}]})
    assert rows(shop, "LIKES") == [
        {"src": "c1", "dst": "p1", "stars": 2, "note": "shiny"},
        {"src": "c2", "dst": "p1", "stars": 3, "note": "dull"},
    ]


def test_refresh_keeps_missing_values(shop: GraphStore, tmp_path: Path) -> None:
    before = rows(shop, "LIKES")
    shop.close()
    stars = pa.table({"cid": ["c1"], "sku": ["p1"], "stars": [1]})
    mapping = {"relationships": {"LIKES": {"source": stars}}}
    told = refresh(RefreshRequest(str(tmp_path / "shop.lbug"), mapping, loader="tables", dry_run=True))
    assert (told["new"], told["changed"]) == ({}, {"LIKES": 1})
    with open_graph(tmp_path / "shop.lbug", read_only=True) as graph:
        assert rows(graph, "LIKES") == before


ATOMIC = {
    "a.inter": "user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t1\nu1\ti2\t2\n",
    "a.item": "item_id:token\ttitle:token_seq\ni1\tLadle\ni2\tWhisk\n",
}


def atomic(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


@pytest.mark.filterwarnings("ignore:1 item is not in:UserWarning")
@pytest.mark.parametrize("item", [None, "item_id:token\ttitle:token_seq\ni3\tMug\n"])
def test_atomic_files_keep_missing_columns(tmp_path: Path, item: str | None) -> None:
    first = atomic(tmp_path / "first", a_inter=ATOMIC["a.inter"], a_item=ATOMIC["a.item"])
    more = {"a_item": item} if item else {}
    second = atomic(tmp_path / "second", a_inter="user_id:token\titem_id:token\ttimestamp:float\nu2\ti1\t3\n", **more)
    with kgrec.open(tmp_path / "a.lbug", create=True) as graph:
        kgrec.load("atomic", first, into=graph)
        kgrec.load("atomic", second, into=graph)
        titles = {row["item_id"]: row["title"] for row in rows(graph, "Item")}
    assert titles == {"i1": "Ladle", "i2": "Whisk"} | ({"i3": "Mug"} if item else {})


def test_items_without_rows_are_reported(tmp_path: Path) -> None:
    source = atomic(tmp_path / "first", a_inter=ATOMIC["a.inter"], a_item=ATOMIC["a.item"].replace("i2", "i3"))
    with pytest.warns(DataNotice, match=r"1 item is not in .*a\.item, such as 'i2'; .* nothing but an id"):
        kgrec.load("atomic", source)


def test_rdf_without_values_keeps_properties(tmp_path: Path) -> None:
    pytest.importorskip("pyoxigraph")
    base = "https://kgrec.dev/shop/"
    schema = Schema.from_dict({**SHOP.to_dict(), "rdf": {"base": base}})
    node = f"<{base}Product/p1>"
    (tmp_path / "price.nt").write_text(
        f"{node} <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <{base}Product> .\n"
        f'{node} <{base}sku> "p1" .\n{node} <{base}price> "9.0"^^<http://www.w3.org/2001/XMLSchema#double> .\n'
    )
    with kgrec.open(tmp_path / "shop.lbug", create=True) as graph:
        nodes = {"Product": {"source": PRODUCTS}, "Customer": {"source": CUSTOMERS}}
        mapping = {"nodes": nodes, "relationships": {"BOUGHT": {"source": BOUGHT}}}
        kgrec.load("tables", mapping, into=graph, schema=schema)
        kgrec.load("rdf", tmp_path / "price.nt", into=graph, schema=schema)
        assert rows(graph, "Product")[0] == {"sku": "p1", "title": "Ladle", "price": 9.0, "tags": ["a"]}
