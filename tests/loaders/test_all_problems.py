"""All problems of a source come in one message: those of reading it, and those of the values that could be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec.data.schema import Schema
from kgrec.errors import DataError, StoreError
from kgrec.store import open_graph
from kgrec.store.load import check_source, load
from loaders.atomic import derive_schema

SCHEMA = Schema.from_dict(
    {
        "name": "shop",
        "nodes": {"User": {"key": "uid"}, "Item": {"key": "iid", "properties": {"price": "float"}}},
        "relationships": {
            "BOUGHT": {"from": "User", "to": "Item", "properties": {"stars": "float", "at": "datetime", "n": "int"}}
        },
        "roles": {"users": "User", "items": "Item", "behaviours": {"BOUGHT": {"weight": "stars", "time": "at"}}},
    },
    where="shop",
)
ITEMS = "iid,price\ni1,1.5\ni2,2\n"
ROWS = (
    ("u1", "i1", "5", "2024-01-01", "1"),
    ("u1", "i2", "5"),
    ("u2", "", "5", "2024-01-02", "1"),
    ("u2", "i1", "five", "2024-01-02", "1"),
    ("u2", "i2", "inf", "2024-01-03", "1"),
    ("u3", "i9", "5", "2024-01-03", "1.5"),
    ("u3", "i1", "5", "soon", "1"),
    ("u3", "i2", "5", "2300-01-01", "1", "x"),
    ("u4", "i2", "5", "2300-01-01", "1"),
)
FAULTS = [
    (3, None),
    (4, "iid"),
    (5, "stars"),
    (6, "stars"),
    (7, "iid"),
    (7, "n"),
    (8, "at"),
    (9, None),
    (10, "at"),
]


def faults(folder: Path, name: str, source: str) -> list[tuple[int | None, str | None]]:
    """Row and field of each problem in a file of a source, which `check` and `load` report alike."""
    loader, schema = ("tables", SCHEMA) if source.endswith(".yaml") else ("atomic", None)
    with pytest.raises(DataError) as checked:
        check_source(loader, folder / source, schema=schema)
    with open_graph(folder / "graph.lbug", create=True) as store:
        with pytest.raises(DataError) as loaded:
            load(loader, folder / source, into=store, schema=schema)
        with pytest.raises(StoreError, match="is empty"):
            store.snapshot()
    assert loaded.value.problems == checked.value.problems
    found = [(p.row, p.field) for p in checked.value.problems if Path(p.where).name == name]
    return sorted(found, key=lambda fault: (fault[0] or 0, fault[1] or ""))


def written(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def mapping(items: str, buys: str) -> str:
    return f"nodes: {{Item: {{source: {items}}}}}\nrelationships: {{BOUGHT: {{source: {buys}}}}}\n"


@pytest.mark.parametrize(("ending", "sign"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_text_every_kind_of_fault_at_once(tmp_path: Path, ending: str, sign: str, quote: str) -> None:
    rows = [("uid", "iid", "stars", "at", "n"), *ROWS]
    text = "\n".join(sign.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    written(tmp_path, {"m.yaml": mapping("items.csv", f"buys.{ending}"), "items.csv": ITEMS, f"buys.{ending}": text})
    assert faults(tmp_path, f"buys.{ending}", "m.yaml") == FAULTS


def test_misplaced_quotes_and_wrong_values_at_once(tmp_path: Path) -> None:
    buys = 'uid,iid,stars,at\nu1,"i1" x,1,2024-01-01\nu"1,i1,1,2024-01-01\n"u\n1",i1,bad,2024-01-01\nu2,i2,1,never\n'
    written(tmp_path, {"m.yaml": mapping("items.csv", "buys.csv"), "items.csv": ITEMS, "buys.csv": buys})
    assert faults(tmp_path, "buys.csv", "m.yaml") == [(2, None), (3, None), (4, "stars"), (6, "at")]


def test_atomic_every_kind_of_fault_at_once(tmp_path: Path) -> None:
    inter = (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t5\t9\nu1\ti2\nu2\t\t4\t9\nu3\ti1\tx\t-1\n"
    )
    item = "item_id:token\tprice:float\ni1\tfree\ni2\n"
    kg = "head_id:token\trelation_id:token\ttail_id:token\ni1\tby\tm1\ni2\tby\ni1\t\tm2\n"
    folder = tmp_path / "shop"
    folder.mkdir()
    written(folder, {"shop.inter": inter, "shop.item": item, "shop.kg": kg})
    expected = [(3, None), (4, "item_id"), (5, "rating"), (5, "timestamp")]
    assert faults(tmp_path, "shop.inter", "shop") == expected
    with pytest.raises(DataError) as caught:
        derive_schema(folder)
    assert [p.row for p in caught.value.problems] == [3, 3, 3, 4]


def test_parquet_every_kind_of_fault_at_once(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "uid": [1.0, 2.5, None, 4.0],
        "iid": ["i1", "i9", "i1", "i2"],
        "stars": [1.0, float("nan"), 2.0, None],
        "at": [1, 2**60, 3, 4],
        "n": [1.5, 1.0, 2.0, 1e20],
    }
    pq.write_table(pa.table(columns), tmp_path / "buys.parquet")
    written(tmp_path, {"m.yaml": mapping("items.csv", "buys.parquet"), "items.csv": ITEMS})
    expected = [(1, "n"), (2, "at"), (2, "iid"), (2, "stars"), (2, "uid"), (3, "uid"), (4, "n"), (4, "stars")]
    assert faults(tmp_path, "buys.parquet", "m.yaml") == expected


def test_json_lines_every_kind_of_fault_at_once(tmp_path: Path) -> None:
    lines = [
        '{"uid": "u1", "iid": "i1", "stars": 1, "at": "2024-01-01"}',
        '{"uid": "u1"',
        '{"uid": "", "iid": {"id": 1}, "stars": 1, "at": "2024-01-01"}',
        '{"uid": "u1", "iid": "i9", "stars": "bad", "at": "never"}',
        "[1]",
        '{"uid": "u1", "iid": "i1", "stars": 1, "at": "2024-01-01", "n": 1.5}',
    ]
    written(
        tmp_path, {"m.yaml": mapping("items.csv", "buys.jsonl"), "items.csv": ITEMS, "buys.jsonl": "\n".join(lines)}
    )
    expected = [(2, None), (3, "iid"), (3, "uid"), (4, "at"), (4, "iid"), (4, "stars"), (5, None), (6, "n")]
    assert faults(tmp_path, "buys.jsonl", "m.yaml") == expected


def test_frame_of_mixed_types_and_wrong_values_at_once() -> None:
    frame = pd.DataFrame({"uid": ["u1", 2, "u3"], "iid": ["i1", "i1", "i9"], "stars": [1.0, 2.0, None]})
    frame["at"] = ["2024-01-01", "never", "2024-01-01"]
    items = pd.DataFrame({"iid": ["i1"]})
    with pytest.raises(DataError) as caught:
        check_source(
            "tables",
            {"nodes": {"Item": {"source": items}}, "relationships": {"BOUGHT": {"source": frame}}},
            schema=SCHEMA,
        )
    assert sorted((p.row, p.field) for p in caught.value.problems) == [(2, "at"), (2, "uid"), (3, "iid"), (3, "stars")]


def test_mapping_and_value_faults_at_once(tmp_path: Path) -> None:
    spec = "nodes: {Item: {source: items.csv}}\nrelationships: {BOUGHT: {source: buys.csv, from: who}}\n"
    buys = "uid,iid,stars,at\nu1,i1,1,2024-01-01\nu1,i1\nu1,i1,x,2024-01-01\n"
    written(tmp_path, {"m.yaml": spec, "items.csv": "iid,price\ni1,free\n", "buys.csv": buys})
    assert faults(tmp_path, "buys.csv", "m.yaml") == [(3, None), (4, "stars")]
    with pytest.raises(DataError, match="column 'who', which is not in"):
        check_source("tables", tmp_path / "m.yaml", schema=SCHEMA)


@pytest.mark.parametrize("items", ["iid,price\ni1,1\ni9\n", "id,price\ni1,1\n", ""])
def test_ids_of_an_unread_row_are_not_called_unknown(tmp_path: Path, items: str) -> None:
    buys = "uid,iid,stars,at\nu1,i9,1,2024-01-01\nu1,i1,bad,2024-01-01\n"
    written(tmp_path, {"m.yaml": mapping("items.csv", "buys.csv"), "items.csv": items, "buys.csv": buys})
    assert faults(tmp_path, "buys.csv", "m.yaml") == [(3, "stars")]


def test_many_faults_name_every_kind_and_the_rest(tmp_path: Path) -> None:
    rows = "".join(f"u{i},i1,{'bad' if i % 2 else 1},{'2024-01-01' if i % 3 else 'x'}\n" for i in range(300))
    buys = f"uid,iid,stars,at\n{rows}u1,i1\n"
    written(tmp_path, {"m.yaml": mapping("items.csv", "buys.csv"), "items.csv": ITEMS, "buys.csv": buys})
    with pytest.raises(DataError, match="251 problems in the data:") as caught:
        check_source("tables", tmp_path / "m.yaml", schema=SCHEMA)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "  … and 231 more"
    assert {line.partition(" found ")[2].partition(";")[0] for line in lines[1:-1]} >= {"'bad'", "'x'", "2 fields"}
