"""Graphs from frames of interactions: the result, and the errors of wrong frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kgrec import DataError, Schema, UsageError
from kgrec._util.notices import DataNotice
from kgrec.data.interactions import from_interactions
from kgrec.data.snapshot import GraphSnapshot

FRAME = pd.DataFrame({"user_id": [1, 1, 2, 10], "item_id": ["a", "b", "a", "c"], "timestamp": [4, 5, 6, 7]})
ITEMS = pd.DataFrame({"item_id": ["a", "d"], "title": ["Ant", "Dog"], "price": [1.5, 2.0], "tags": [["x"], ["y", "z"]]})
LINKS = pd.DataFrame({"item_id": ["a", "b"], "attribute": "genre", "value": ["drama", "comedy"]})


class ArrowStream:
    """A frame of another library, of which only the Arrow stream is known."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def snapshot(*frames: Any, **columns: Any) -> GraphSnapshot:
    return GraphSnapshot.from_tables(from_interactions(*frames, **columns))


def problems(*frames: Any, **columns: Any) -> list[str]:
    with pytest.raises(DataError) as raised:
        from_interactions(*frames, **columns)
    return [str(problem) for problem in raised.value.problems]


def test_from_interactions_counts_nodes_and_rows() -> None:
    tables = from_interactions(FRAME, items=ITEMS, attributes=LINKS)
    assert tables.counts() == {"User": 3, "Item": 4, "Genre": 2, "INTERACTED": 4, "HAS_GENRE": 2}
    item = tables.schema.nodes["Item"]
    assert item.properties == {"title": "string", "price": "float", "tags": "strings"}
    assert (item.name, item.text) == ("title", ("{title}", "tags: {tags}", "genre: {HAS_GENRE}"))
    assert tables.schema.roles.behaviours["INTERACTED"].time == "timestamp"


def test_ids_keep_their_type_and_order() -> None:
    graph = snapshot(FRAME)
    assert graph.users.original.dtype == np.int64
    assert graph.users.original.tolist() == [1, 10, 2]
    assert graph.users.ids.tolist() == ["1", "10", "2"]
    assert graph.items.original.tolist() == ["a", "b", "c"]


def test_id_type_survives_the_schema() -> None:
    schema = from_interactions(FRAME).schema
    assert Schema.parse(schema.to_yaml()) == schema
    assert schema.nodes["User"].id_type == "int"


@pytest.mark.parametrize("given", [pa.Table.from_pandas(FRAME), ArrowStream(pa.Table.from_pandas(FRAME))])
def test_arrow_frames_equal_pandas(given: Any) -> None:
    assert snapshot(given).digest == snapshot(FRAME).digest


def test_polars_equals_pandas() -> None:
    polars = pytest.importorskip("polars")
    assert snapshot(polars.DataFrame(FRAME.to_dict("list"))).digest == snapshot(FRAME).digest


def test_from_interactions_accepts_other_column_names() -> None:
    renamed = FRAME.rename(columns={"user_id": "customer", "item_id": "sku", "timestamp": "at"}).assign(stars=5.0)
    graph = snapshot(renamed, user_id="customer", item_id="sku", timestamp="at", weight="stars")
    assert graph.behaviors.time.tolist() == [4, 5, 7, 6]
    assert graph.behaviors.weight.tolist() == [5, 5, 5, 5]


def test_from_interactions_behavior_column_gives_types() -> None:
    tables = from_interactions(FRAME.assign(behavior=["view", "add to cart", "view", "view"]))
    assert list(tables.schema.roles.behaviours) == ["view", "add_to_cart"]
    assert tables.edges["User", "add_to_cart", "Item"].num_rows == 1


def test_from_interactions_accepts_timestamps() -> None:
    graph = snapshot(FRAME.assign(timestamp=pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"])))
    assert np.diff(graph.behaviors.time[:2]).tolist() == [86_400]


def test_missing_column_names_near_matches() -> None:
    (found,) = problems(FRAME.rename(columns={"user_id": "userid"}))
    assert "expected a column 'user_id'; near matches: userid" in found
    assert found.endswith("or name the one that it is: user_id='…'")
    (found,) = problems(FRAME, weight="stars")
    assert found.startswith("interactions: stars: found columns user_id, item_id, timestamp")


def test_from_interactions_reports_all_problems() -> None:
    wrong = FRAME.assign(user_id=[1, "x", None, 2]).drop(columns="item_id")
    assert problems(wrong, items=ITEMS.rename(columns={"price": "the price"})) == [
        "interactions:2: user_id: found 'x' beside 1; expected values of one type; convert the column",
        "interactions: item_id: found columns user_id, timestamp; expected a column 'item_id'; near matches: user_id; "
        "or name the one that it is: item_id='…'",
        "items: the price: found the name 'the price'; expected letters, digits and _, not starting with a digit; "
        "rename the column",
    ]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (FRAME.head(0), "interactions: found no rows; expected at least one interaction"),
        (FRAME.assign(user_id=[1, None, 2, 2]), "interactions:2: user_id: found None; expected an id"),
        (FRAME.assign(item_id=["a", "", "b", "c"]), "interactions:2: item_id: found ''; expected an id"),
        (FRAME.assign(user_id=[1.0, 2.5, 3, 4]), "interactions:2: user_id: found 2.5; expected an integer id"),
        (FRAME.assign(user_id=True), "interactions: user_id: found values of type bool, such as True; expected ids"),
        (FRAME.assign(weight=[1, None, 1, 1]), "interactions:2: weight: found None; expected a finite number"),
        (FRAME.assign(behavior=["a", None, "a", "a"]), "interactions:2: behavior: found None; expected the behavior"),
    ],
)
def test_from_interactions_names_bad_rows(wrong: pd.DataFrame, expected: str) -> None:
    (found,) = problems(wrong)
    assert found.startswith(expected)


def test_ids_of_two_types_are_refused() -> None:
    (found,) = problems(FRAME, users=pd.DataFrame({"user_id": ["1", "2"], "age": [30, 40]}))
    assert found == (
        "users: user_id: found text; expected whole numbers, as in the interactions; convert one of the two"
    )


def test_duplicate_rows_are_reported_and_dropped() -> None:
    with pytest.warns(DataNotice, match="2 duplicate rows left out"):
        tables = from_interactions(pd.concat([FRAME, FRAME.head(2)]))
    assert tables.counts()["INTERACTED"] == 4


def test_contradicting_rows_are_refused() -> None:
    (found,) = problems(pd.concat([FRAME.assign(weight=1.0), FRAME.head(1).assign(weight=2.0)]))
    assert found.startswith("interactions:5: found user_id='1', item_id='a', weight=2.0, timestamp=4.0, while interact")


def test_unused_columns_are_reported() -> None:
    with pytest.warns(DataNotice, match="not used: rating; weight=, timestamp= and behavior= name one"):
        from_interactions(FRAME.assign(rating=5))


def test_from_interactions_without_frame_fails() -> None:
    with pytest.raises(UsageError, match="interactions is a list; expected a pandas, polars or Arrow frame"):
        from_interactions([(1, "a")])
    with pytest.raises(UsageError, match="interactions is a NoneType"):
        from_interactions(None)
