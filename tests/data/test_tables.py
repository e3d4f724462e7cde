from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables, Origin, stacked
from kgrec.errors import DataError, UsageError

SCHEMA = Schema.parse(
    """\
name: shop
nodes:
  User: {key: user_id, properties: {age: int}}
  Item: {key: item_id, properties: {title: string, genres: strings, score: float, added: datetime, new: bool}}
  Tag: {key: tag_id}
relationships:
  RATED: {from: User, to: Item, properties: {rating: float, at: float, note: string}}
  SEEN: {from: User, to: Item, properties: {at: datetime}}
  HAS: {from: Item, to: Tag, properties: {share: float}}
roles:
  users: User
  items: Item
  behaviours: {RATED: {weight: rating, time: at}, SEEN: {time: at}}
"""
)
RATED, SEEN, HAS = ("User", "RATED", "Item"), ("User", "SEEN", "Item"), ("Item", "HAS", "Tag")


def tables(**changes) -> GraphTables:
    """A small good graph with some tables changed; None leaves a table out."""
    nodes = {
        "User": pa.table({"user_id": ["u1", "u2"]}),
        "Item": pa.table({"item_id": ["i1", "i2"]}),
        "Tag": pa.table({"tag_id": ["t1"]}),
    }
    edges = {
        RATED: pa.table({"src": ["u1", "u2"], "dst": ["i1", "i2"], "rating": [5.0, 4.0], "at": [1.0, 2.0]}),
        HAS: pa.table({"src": ["i1"], "dst": ["t1"]}),
    }
    keys = {"rated": RATED, "seen": SEEN, "has": HAS}
    for name, table in changes.items():
        (edges if name in keys else nodes)[keys.get(name, name)] = table
    return GraphTables(SCHEMA, *({key: t for key, t in part.items() if t is not None} for part in (nodes, edges)))


def rated(src=("u1",), dst=("i1",), rating=(5.0,), at=(1.0,), **more) -> pa.Table:
    columns = {"src": src, "dst": dst, "rating": rating, "at": at, **more}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def problems_of(graph: GraphTables) -> list[str]:
    with pytest.raises(DataError) as caught:
        check(graph)
    return [str(problem) for problem in caught.value.problems]


def test_check_gives_schema_columns_and_types():
    checked = check(
        tables(
            Item=pa.table({"item_id": [1.0, 2.0], "score": ["1.5", ""], "new": ["yes", "no"]}),
            has=None,
            rated=rated(dst=["1"]),
        )
    )
    assert checked.nodes["Item"].schema.names == ["item_id", "title", "genres", "score", "added", "new"]
    assert checked.nodes["Item"].schema.field("added").type == pa.timestamp("us")
    assert checked.nodes["Item"].select(["item_id", "title", "score", "new"]).to_pylist() == [
        {"item_id": "1", "title": None, "score": 1.5, "new": True},
        {"item_id": "2", "title": None, "score": None, "new": False},
    ]
    assert checked.edges[RATED].schema.names == ["src", "dst", "rating", "at", "note"]


def test_check_is_idempotent(market):
    once = check(market)
    twice = check(once)
    assert {k: t.to_pylist() for k, t in once.nodes.items()} == {k: t.to_pylist() for k, t in twice.nodes.items()}
    assert {k: t.to_pylist() for k, t in once.edges.items()} == {k: t.to_pylist() for k, t in twice.edges.items()}


def test_check_does_not_change_its_input(market):
    before = {key: table.to_pylist() for key, table in market.edges.items()}
    check(market)
    assert {key: table.to_pylist() for key, table in market.edges.items()} == before


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"Shop": pa.table({"shop_id": ["s"]})}, "Shop: found unknown label 'Shop'; expected one of User, Item, Tag"),
        (
            {"User": pa.table({"age": [20, 30]})},
            "User: user_id: found columns age; expected a column 'user_id'",
        ),
        (
            {"User": pa.table({"user_id": ["u1", "u2"], "sex": ["f", "m"]})},
            "User: sex: found unknown column 'sex'; expected one of user_id, age",
        ),
        (
            {"rated": pa.table({"src": ["u1"], "rating": [1.0], "at": [1.0]})},
            "User-RATED-Item: dst: found columns src, rating, at; expected a column 'dst'",
        ),
        (
            {"User": pa.table({"user_id": ["u1", "u2"], "age": ["20", "old"]})},
            "User:2: age: found 'old'; expected a value of type int",
        ),
        ({"User": pa.table({"user_id": ["u1", None, "u2"]})}, "User:2: user_id: found None; expected an id"),
        ({"User": pa.table({"user_id": ["u1", "u2", ""]})}, "User:3: user_id: found ''; expected an id"),
        (
            {"User": pa.table({"user_id": ["u1", "u2", "u1"], "age": [20, 30, 21]})},
            "User:3: found user_id='u1', age=21, while User:1 has user_id='u1', age=20; "
            "expected one row per key, or equal rows",
        ),
        (
            {"User": pa.table({"user_id": ["u1", "u2", "u1"], "age": [20, 30, None]})},
            "User:3: found user_id='u1', age=None, while User:1 has user_id='u1', age=20",
        ),
        (
            {"Item": pa.table({"item_id": ["i1", "i2", "i2"], "genres": [["a"], ["a", "b"], ["a"]]})},
            "Item:3: found item_id='i2', title=None, genres=['a']",
        ),
        ({"rated": rated(src=["u9"])}, "User-RATED-Item:1: src: found 'u9'; expected the key of a User"),
        ({"rated": rated(src=pa.array([None], pa.string()))}, "User-RATED-Item:1: src: found None; expected an id"),
        ({"rated": rated(dst=["u1"])}, "User-RATED-Item:1: dst: found 'u1'; expected the key of a Item"),
        ({"Tag": None}, "Item-HAS-Tag:1: dst: found 't1'; expected the key of a Tag"),
        ({"rated": rated(rating=[float("nan")])}, "User-RATED-Item:1: rating: found nan; expected a finite number"),
        ({"rated": rated(rating=["inf"])}, "User-RATED-Item:1: rating: found inf; expected a finite number"),
        ({"rated": rated(rating=[""])}, "User-RATED-Item:1: rating: found None; expected a finite number"),
        ({"rated": rated(rating=["five"])}, "User-RATED-Item:1: rating: found 'five'; expected a value of type float"),
        ({"rated": rated(at=[1.7e12])}, "User-RATED-Item:1: at: found 1700000000000.0; expected epoch seconds up to"),
        ({"rated": rated(at=[-1])}, "User-RATED-Item:1: at: found -1.0; expected epoch seconds up to the year 2200"),
        ({"rated": rated(at=[float("inf")])}, "User-RATED-Item:1: at: found inf; expected a finite number"),
        (
            {"seen": pa.table({"src": ["u1"], "dst": ["i1"], "at": pa.array([None], pa.timestamp("us"))})},
            "User-SEEN-Item:1: at: found None; expected a time",
        ),
        (
            {"rated": rated(["u1", "u1"], ["i1", "i1"], [5.0, 4.0], [1.0, 1.0])},
            "User-RATED-Item:2: found src='u1', dst='i1', rating=4.0, at=1.0, note=None, while User-RATED-Item:1 has",
        ),
        (
            {"has": pa.table({"src": ["i1", "i1"], "dst": ["t1", "t1"], "share": [0.1, 0.2]})},
            "Item-HAS-Tag:2: found src='i1', dst='t1', share=0.2, while Item-HAS-Tag:1 has",
        ),
        ({"rated": None}, "shop: found no behavior at all; expected at least one RATED, SEEN"),
        ({"rated": rated([], [], [], [])}, "shop: found no behavior at all; expected at least one RATED, SEEN"),
    ],
)
def test_check_problem_has_table_row_and_field(changes, problem):
    problems = problems_of(tables(**changes))
    assert len(problems) == 1, "\n".join(problems)
    assert problems[0].startswith(problem)


def test_check_names_undeclared_relationship():
    graph = tables()
    graph = replace(graph, edges={**graph.edges, ("Tag", "HAS", "Item"): graph.edges[HAS]})
    assert problems_of(graph) == [
        "Tag-HAS-Item: found an undeclared relationship type; expected one that the schema declares"
    ]


def test_check_refuses_id_in_two_labels_of_a_role(market):
    nodes = {**market.nodes, "Guest": pa.table({"guest_id": ["g1", "u1"]})}
    assert problems_of(replace(market, nodes=nodes)) == [
        "User:2: user_id: found 'u1'; expected ids that no Guest has, since both labels share a role; prefix them"
    ]


def test_check_reports_all_problems_with_their_files():
    graph = tables(
        User=pa.table({"user_id": ["u1", "u2", "u2"], "age": ["x", "3", "4"]}),
        rated=rated(["u1", "u2", "u7"], ["i1", "i8", "i2"], ["5", "nan", "?"], [1.0, 2.0, 9e12]),
    )
    origins = {"User": (Origin("users.csv", 2, 1), Origin("more.csv", 5, 2)), RATED: (Origin("ratings.csv", 2, 3),)}
    places = sorted(str(p).split(" found")[0] for p in check_fails(replace(graph, origins=origins)))
    assert places == [
        "more.csv:6:",
        "ratings.csv:3: dst:",
        "ratings.csv:3: rating:",
        "ratings.csv:4: at:",
        "ratings.csv:4: rating:",
        "ratings.csv:4: src:",
        "users.csv:2: age:",
    ]


def check_fails(graph: GraphTables):
    with pytest.raises(DataError) as caught:
        check(graph)
    return caught.value.problems


def test_check_duplicate_names_the_first_row():
    graph = tables(User=pa.table({"user_id": ["u1", "u2", "u1"], "age": [1, 2, 3]}))
    origins = {"User": (Origin("a.csv", 2, 2), Origin("b.csv", 2, 1))}
    (problem,) = problems_of(replace(graph, origins=origins))
    assert problem.startswith("b.csv:2: found user_id='u1', age=3, while a.csv:2 has user_id='u1', age=1")


def test_check_collapses_equal_rows():
    graph = tables(
        Item=pa.table(
            {
                "item_id": ["i1", "i2", "i1", "i2"],
                "genres": [["a", "b"], None, ["a", "b"], None],
                "score": [float("nan"), 1.0, float("nan"), 1.0],
                "added": [datetime(2024, 1, 1), None, datetime(2024, 1, 1), None],
            }
        ),
        rated=rated(["u1", "u2", "u1"], ["i1", "i1", "i1"], [5.0, 4.0, 5.0], [1.0, 1.0, 1.0]),
        has=pa.table({"src": ["i1", "i1"], "dst": ["t1", "t1"]}),
    )
    checked = check(graph)
    assert checked.nodes["Item"].column("item_id").to_pylist() == ["i1", "i2"]
    assert checked.edges[RATED].column("src").to_pylist() == ["u1", "u2"]
    assert checked.edges[HAS].num_rows == 1


def test_check_keeps_pair_at_another_time():
    checked = check(tables(rated=rated(["u1", "u1"], ["i1", "i1"], [5.0, 4.0], [1.0, 2.0])))
    assert checked.edges[RATED].num_rows == 2
    days = [datetime(2024, 1, 1), datetime(2024, 1, 2)]
    seen = check(tables(seen=pa.table({"src": ["u1", "u1"], "dst": ["i1", "i1"], "at": days})))
    assert seen.edges[SEEN].num_rows == 2


def test_check_unreadable_time_is_one_problem():
    with pytest.raises(DataError) as error:
        check(tables(seen=pa.table({"src": ["u1"], "dst": ["i1"], "at": ["yesterday"]})))
    assert [str(problem).partition(": ")[2] for problem in error.value.problems] == [
        "at: found 'yesterday'; expected a value of type datetime: a time between the years 1 and 9999, "
        "such as 2024-01-31T08:00:00Z"
    ]


def test_check_refuses_list_with_null():
    graph = tables(Item=pa.table({"item_id": ["i1", "i2"], "genres": [["x"], ["a", None]]}))
    (problem,) = problems_of(graph)
    assert problem.startswith("Item:2: genres: found ['a', None]; expected a value of type strings: a list of texts")


def pictures(films, people=None) -> GraphTables:
    """A graph of films, and people if given, that have vectors of one name."""
    data = SCHEMA.to_dict()
    data["nodes"]["Item"]["properties"]["picture"] = "vector"
    data["nodes"]["User"]["properties"]["picture"] = "vector"
    good = tables()
    items = pa.table({"item_id": [f"i{n}" for n in range(1, len(films) + 1)], "picture": films})
    users = pa.table({"user_id": ["u1", "u2"], "picture": people or pa.nulls(2)})
    return replace(good, schema=Schema.from_dict(data), nodes={**good.nodes, "Item": items, "User": users})


def test_check_accepts_vectors_of_one_length():
    checked = check(pictures([[1, 2], None, [0.5, 4]], [[3, 4], None]))
    assert checked.nodes["Item"].column("picture").to_pylist() == [[1, 2], None, [0.5, 4]]
    assert check(pictures(pa.nulls(3))).nodes["Item"].column("picture").null_count == 3


def test_check_reports_every_unusable_vector():
    nan, inf = float("nan"), float("inf")
    films = [[1, 2, 3], [1, 2], None, [1, nan, inf], [3, 2, 1], [0, 0, -inf], [None, 1, 2], []]
    assert problems_of(pictures(films, [[1], [1, 2, 3]])) == [
        "User:1: picture: found length 1; expected length 3, that of most vectors 'picture'",
        "Item:2: picture: found length 2; expected length 3, that of most vectors 'picture'",
        "Item:8: picture: found length 0; expected length 3, that of most vectors 'picture'",
        "Item:4: picture: found nan at position 2; expected finite numbers",
        "Item:6: picture: found -inf at position 3; expected finite numbers",
        "Item:7: picture: found nan at position 1; expected finite numbers",
    ]


def test_check_text_vector_is_one_short_problem():
    [problem] = problems_of(pictures([["1", "2"], ["3", "x"], ["6", "7"]]))
    assert problem == "Item:2: picture: found ['3', 'x']; expected a value of type vector"
    [problem] = problems_of(pictures([["1", "2"], ["y"] * 500, ["4", "5"]]))
    assert len(problem) < 300


def test_check_compares_rows_by_vectors():
    good = pictures([[1, 2], [3, 4]])
    twice = pa.table({"item_id": ["i1", "i1", "i2"], "picture": [[1, 2], [1, 2], [3, 4]]})
    assert check(replace(good, nodes={**good.nodes, "Item": twice})).nodes["Item"].num_rows == 2
    differing = pa.table({"item_id": ["i1", "i1", "i2"], "picture": [[1, 2], [1, 3], [3, 4]]})
    [problem] = problems_of(replace(good, nodes={**good.nodes, "Item": differing}))
    assert "expected one row per key, or equal rows" in problem


def test_digest_depends_on_vectors():
    one, same, other, shorter = (
        GraphSnapshot.from_tables(check(pictures(films))).digest
        for films in ([[1, 2], None], [[1.0, 2.0], None], [[1, 3], None], [None, [1, 2]])
    )
    assert one == same
    assert len({one, other, shorter}) == 3


def test_counts_are_by_label_and_type(market):
    assert check(market).counts() == {
        "User": 2, "Guest": 1, "Movie": 3, "Book": 2, "Author": 1, "BOUGHT": 6, "VIEWED": 1, "WROTE": 2
    }  # fmt: skip


def gap(*rows: bool) -> np.ndarray:
    return np.array(rows)


def test_check_marks_missing_columns_as_gaps() -> None:
    checked = check(tables(User=pa.table({"user_id": ["u1", "u2"]})))
    assert checked.nodes["User"].column("age").to_pylist() == [None, None]
    assert checked.gaps["User"]["age"].tolist() == [True, True]
    assert not checked.gaps.get("Tag")


def test_check_merges_rows_of_a_key() -> None:
    one, other = rated(["u1"], ["i1"], [5.0], [1.0]), pa.table({"src": ["u1"], "dst": ["i1"], "note": ["good"]})
    other = other.append_column("rating", pa.array([5.0])).append_column("at", pa.array([1.0]))
    both, gaps = stacked([one.drop_columns(["note"]) if "note" in one.column_names else one, other])
    made = tables(rated=both)
    checked = check(replace(made, gaps={("User", "RATED", "Item"): gaps}))
    [row] = checked.edges["User", "RATED", "Item"].to_pylist()
    assert (row["note"], row["rating"]) == ("good", 5.0)
    assert not any(mask.any() for mask in checked.gaps["User", "RATED", "Item"].values())


def test_check_reports_contradicting_rows_of_a_key() -> None:
    users = pa.table({"user_id": ["u1", "u2", "u1", "u1"], "age": [None, 1, 20, 30]})
    made = replace(tables(User=users), gaps={"User": {"age": gap(True, False, False, False)}})
    assert problems_of(made) == [
        "User:4: found user_id='u1', age=30, while User:3 has user_id='u1', age=20; "
        "expected one row per key, or equal rows"
    ]


def test_gaps_of_another_length_are_refused() -> None:
    with pytest.raises(UsageError, match=r"a gap mask of 1 rows for User\.age, a table of 2 rows"):
        replace(tables(), gaps={"User": {"age": gap(True)}})
