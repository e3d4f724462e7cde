"""Conditions on items: values, lists and ranges; malformed ones are refused."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from kgrec import UsageError
from kgrec.data.interactions import from_interactions
from kgrec.data.snapshot import GraphSnapshot
from kgrec.ranking.filters import item_filter

ITEMS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "price": [5.0, 10.0, 20.0, None],
        "year": pd.array([1990, 1995, 2000, None], dtype="Int64"),
        "at": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01", None]),
        "kind": ["x", "y", "x", None],
        "tags": [["p", "q"], ["q"], [], None],
        "new": [True, False, True, None],
    }
)
GRAPH = GraphSnapshot.from_tables(from_interactions(pd.DataFrame({"user_id": ["u"], "item_id": ["a"]}), ITEMS))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"kind": "x"}, "ac"),
        ({"kind": ["x", "y"]}, "abc"),
        ({"tags": "q"}, "ab"),
        ({"new": True}, "ac"),
        ({"year": 1995}, "b"),
        ({"price": {">=": 10}}, "bc"),
        ({"price": {">": 10}}, "c"),
        ({"price": {"<": 10}}, "a"),
        ({"price": {">": 5, "<=": 20}}, "bc"),
        ({"year": {"between": [1990, 1995]}}, "ab"),
        ({"at": {">=": "2024-02-01"}}, "bc"),
        ({"price": {"<": 15}, "kind": "y"}, "b"),
        ({"price": {">": 100}}, ""),
        ({"kind": []}, ""),
    ],
)
def test_where_marks_items(where: dict[str, Any], expected: str) -> None:
    assert "".join(GRAPH.items.ids[item_filter(GRAPH, where=where)]) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"prize": 5},
            "unknown item property 'prize'. Expected one of at, kind, new, price, tags, year; near matches",
        ),
        ({"price": (5, 10)}, r"where={'price': \(5, 10\)}. Expected one value, a list of values, or a range such as"),
        (
            {"price": {"=>": 5}},
            r"unknown operator of where='price': '=>'. .*<, between; near matches: >",
        ),
        (
            {"price": {"between": 5}},
            r"range of where='price': between 5. Expected two values, such as \[10, 20\]",
        ),
        ({"price": {}}, r"where={'price': {}}. Expected one value"),
        ({"price": None}, "wrong value None in .* Expected one value"),
        ({"price": "cheap"}, "wrong type: price='cheap'. Expected a value of type float"),
        ({"price": {"<": "cheap"}}, "wrong type: price='cheap'. Expected a value of type float"),
        ({"year": 1990.5}, "wrong type: year=1990.5. Expected a value of type int"),
        ({"kind": {"<": "y"}}, "no range over where='kind': a property of type string has no order. Expected a"),
        ("price", "where is a str. Expected item properties and conditions"),
    ],
)
def test_where_refuses_invalid_conditions(where: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        item_filter(GRAPH, where=where)
