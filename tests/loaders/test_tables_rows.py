"""Row rules of mappings: trimming, lists, filters, empty and unknown ends, nodes of ends."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec._util.notices import DataNotice, notices
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, UsageError
from kgrec.store import open_graph
from loaders.tables import TablesLoader

SCHEMA = Schema.from_dict(
    {
        "name": "films",
        "nodes": {
            "User": {"key": "user_id"},
            "Film": {"key": "film_id", "properties": {"title": "string", "tags": "strings"}},
            "Genre": {"key": "genre"},
        },
        "relationships": {
            "SAW": {"from": "User", "to": "Film", "properties": {"why": "strings"}},
            "LIKED": {"from": "User", "to": "Film"},
            "HAS_GENRE": {"from": "Film", "to": "Genre"},
        },
        "roles": {"users": "User", "items": "Film", "behaviours": {"SAW": {}, "LIKED": {}}},
    }
)
SAW = ("User", "SAW", "Film")
HAS_GENRE = ("Film", "HAS_GENRE", "Genre")


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def seen(**columns: Any) -> dict[str, Any]:
    return {"source": frame(**(columns or {"user_id": ["u1"], "film_id": ["f1"]}))}


def load(relationships: dict[str, Any], **nodes: Any) -> tuple[GraphTables, list[str]]:
    """Return the checked tables, and what was said."""
    told: list[str] = []
    with notices(told.append):
        mapping = {"nodes": nodes, "relationships": {"SAW": seen(), **relationships}}
        return check(TablesLoader().load(mapping, SCHEMA)), told


def refused(relationships: dict[str, Any], **nodes: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(relationships, **nodes)
    return str(caught.value)


def written(folder: Path, name: str, text: str) -> dict[str, Any]:
    (folder / name).write_text(text)
    return {"source": folder / name}


def ends(tables: GraphTables, edge_type: tuple[str, str, str]) -> list[tuple[str, str]]:
    table = tables.edges[edge_type]
    return sorted(zip(table["src"].to_pylist(), table["dst"].to_pylist(), strict=True))


def source_of_kind(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Any:
    """Write rows as one of the kinds of sources that there are."""
    table = pd.DataFrame(rows)
    if kind == "pandas":
        return table
    if kind == "arrow":
        return pa.Table.from_pandas(table, preserve_index=False)
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "arrow", "pandas"])
def test_padded_ids_headers_and_parts_are_trimmed(tmp_path: Path, kind: str) -> None:
    rows = [{"film_id": " f1", " tags ": "a | b|"}, {"film_id": "f2", " tags ": " "}]
    films = {"source": source_of_kind(tmp_path, kind, rows), "list_separator": "|"}
    tables, _ = load({"SAW": seen(user_id=["u1", " u1"], film_id=["f1 ", "f2"])}, Film=films)
    assert tables.nodes["Film"].column("film_id").to_pylist() == ["f1", "f2"]
    assert tables.nodes["Film"].column("tags").to_pylist() == [["a", "b"], []]
    assert ends(tables, SAW) == [("u1", "f1"), ("u1", "f2")]


def test_padded_text_is_kept() -> None:
    tables, _ = load({}, Film={"source": frame(film_id=["f1"], title=["  In  Space "])})
    assert tables.nodes["Film"].column("title").to_pylist() == ["  In  Space "]


def test_padded_domains_are_equal() -> None:
    data = SCHEMA.to_dict()
    data["roles"]["domain"] = "title"
    mapping = {"nodes": {"Film": {"source": frame(film_id=["f1", "f2"], title=["tv", " tv"])}}}
    mapping["relationships"] = {"SAW": seen()}
    tables = check(TablesLoader().load(mapping, Schema.from_dict(data)))
    assert tables.nodes["Film"].column("title").to_pylist() == ["tv", "tv"]


def test_columns_equal_except_for_spaces_are_refused() -> None:
    message = refused(
        {"SAW": {"source": pd.DataFrame([["u1", "f1", "f2"]], columns=["user_id", "film_id", " film_id"])}}
    )
    assert "film_id: found the column twice; expected each column once" in message


def test_blank_id_is_missing() -> None:
    assert "user_id: found None; expected an id, or skip_empty: true" in refused(
        {"SAW": seen(user_id=[" "], film_id=["f1"])}
    )


@pytest.mark.parametrize("cell", ["['lamp', 'led']", '["lamp", " led"]', " ('lamp', 'led') "])
def test_lists_written_in_a_cell_are_read(cell: str) -> None:
    tables, _ = load({}, Film={"source": frame(film_id=["f1", "f2"], tags=[cell, "[]"])})
    assert tables.nodes["Film"].column("tags").to_pylist() == [["lamp", "led"], []]


@pytest.mark.parametrize("cell", ["[lamp, led]", "['lamp' 'led']", '{"a": 1}', "[['a']]", "[None]", "{lamp,led}"])
def test_brackets_without_list_are_refused(tmp_path: Path, cell: str) -> None:
    films = written(
        tmp_path, "films.jsonl", json.dumps({"film_id": "f0"}) + "\n" + json.dumps({"film_id": "f1", "tags": cell})
    )
    message = refused({}, Film={**films, "list_separator": ","})
    assert f"films.jsonl:2: tags: found {cell!r}; expected a list such as" in message


def test_lists_and_texts_in_a_column_become_lists(tmp_path: Path) -> None:
    lines = ['{"film_id": "f1", "tags": ["a, b", "c"]}', '{"film_id": "f2", "tags": "a, b"}']
    films = written(tmp_path, "films.jsonl", "\n".join(lines))
    tables, _ = load({}, Film={**films, "list_separator": ","})
    assert tables.nodes["Film"].column("tags").to_pylist() == [["a, b", "c"], ["a", "b"]]


def test_single_text_list_is_read_and_reported(tmp_path: Path) -> None:
    lines = ['{"film_id": "f1", "title": ["Alien"]}', '{"film_id": "f2", "title": "[REC]"}']
    tables, told = load({}, Film=written(tmp_path, "films.jsonl", "\n".join(lines)))
    assert tables.nodes["Film"].column("title").to_pylist() == ["Alien", "[REC]"]
    assert told == [f"1 row of {tmp_path / 'films.jsonl'}: title is a list of one text, read as that text"]


@pytest.mark.parametrize("value", ['["Alien", "Aliens"]', '{"en": "Alien"}'])
@pytest.mark.parametrize("other", ['"Jaws"', '["Jaws"]'])
def test_several_texts_for_a_text_are_refused(tmp_path: Path, value: str, other: str) -> None:
    lines = [f'{{"film_id": "f1", "title": {other}}}', f'{{"film_id": "f2", "title": {value}}}']
    message = refused({}, Film=written(tmp_path, "films.jsonl", "\n".join(lines)))
    assert "films.jsonl:2: title: found" in message
    assert "expected a text, or a list of one text" in message


GENRES = {"film_id": ["f1", "f2", "f3"], "genre": ["Comedy| Drama", "Comedy", ""]}


def test_list_separator_splits_the_ends_of_an_edge() -> None:
    tables, told = load({"HAS_GENRE": {"source": frame(**GENRES), "list_separator": "|"}})
    assert ends(tables, HAS_GENRE) == [("f1", "Comedy"), ("f1", "Drama"), ("f2", "Comedy")]
    assert told == ["1 row of the table of relationships.HAS_GENRE left out of HAS_GENRE: no genre"]


def test_split_edges_keep_their_values_and_rows(tmp_path: Path) -> None:
    text = 'user_id,film_id,why\n"u1|u2",f1,"x|y"\nu3,"f1|f9|f2",z\n'
    films = frame(film_id=["f1", "f2"])
    saw = {**written(tmp_path, "saw.csv", text), "list_separator": "|"}
    message = refused({"SAW": saw}, Film={"source": films})
    assert "saw.csv:3: film_id: found 'f9'" in message
    tables, told = load({"SAW": {**saw, "skip_unknown": True}}, Film={"source": films})
    assert tables.edges[SAW].to_pylist() == [
        {"src": "u1", "dst": "f1", "why": ["x", "y"]},
        {"src": "u2", "dst": "f1", "why": ["x", "y"]},
        {"src": "u3", "dst": "f1", "why": ["z"]},
        {"src": "u3", "dst": "f2", "why": ["z"]},
    ]
    assert told == [f"1 row left out of SAW: no Film has the film_id, such as 'f9' ({tmp_path / 'saw.csv'}:3)"]


def test_list_at_an_end_gives_one_edge_each() -> None:
    source = pa.table({"film_id": ["f1", "f2"], "genre": [["Comedy", "Drama"], []]})
    assert ends(load({"HAS_GENRE": {"source": source}})[0], HAS_GENRE) == [("f1", "Comedy"), ("f1", "Drama")]


def test_list_separator_without_a_list_is_refused() -> None:
    message = refused({}, Film={"source": frame(film_id=["f1"], title=["a|b"]), "list_separator": "|"})
    assert "nodes.Film.list_separator: found '|', but no property of Film that is read is a list" in message


def test_unused_list_separator_is_reported() -> None:
    _, told = load({"HAS_GENRE": {"source": frame(film_id=["f1"], genre=["Comedy, Drama"]), "list_separator": "|"}})
    assert told == ["list_separator '|' occurs in no value of film_id or genre in the table of relationships.HAS_GENRE"]


def test_source_settings_need_a_source() -> None:
    message = refused({}, Film={"from_ends": True, "key": "id", "properties": {"title": "name"}})
    assert "nodes.Film.key: found a setting without a source" in message
    assert "nodes.Film.properties: found a setting without a source" in message


def test_duplicate_mapping_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("relationships:\n  SAW: {source: a.csv}\n  SAW: {source: b.csv}\n")
    with pytest.raises(DataError, match=r"m.yaml:3: found 'SAW' given twice; expected it once; a type with several"):
        TablesLoader().load(tmp_path / "m.yaml", SCHEMA)


def test_empty_ends_of_a_behavior_are_refused_or_skipped(tmp_path: Path) -> None:
    saw = written(tmp_path, "saw.csv", "user_id,film_id\nu1,f1\nu2,\n,f1\n")
    message = refused({"SAW": saw})
    assert "saw.csv:3: film_id: found None; expected an id, or skip_empty: true in the mapping" in message
    tables, told = load({"SAW": {**saw, "skip_empty": True}})
    assert ends(tables, SAW) == [("u1", "f1")]
    name = f"1 row of {tmp_path / 'saw.csv'} left out of SAW: no"
    assert told == [f"{name} user_id", f"{name} film_id"]


def test_empty_ends_of_other_edges_are_dropped_and_reported() -> None:
    links = frame(film_id=["f1", "f2", "f3"], genre=["x", None, " "])
    tables, told = load({"HAS_GENRE": {"source": links}})
    assert ends(tables, HAS_GENRE) == [("f1", "x")]
    assert told == ["2 rows of the table of relationships.HAS_GENRE left out of HAS_GENRE: no genre"]
    assert "genre: found None; expected an id" in refused({"HAS_GENRE": {"source": links, "skip_empty": False}})


LOG = {"user_id": ["u1", "u1", "u2"], "film_id": ["f1", "f2", "f1"], "event": ["saw", " liked", "saw"]}


def test_where_takes_the_rows_of_a_type() -> None:
    log = frame(**LOG, n=[1, 2, 3])
    liked = {"source": log, "where": {" event": "liked", "n": [2, 3]}}
    tables, told = load({"SAW": {"source": log, "where": {"event": ["saw"]}}, "LIKED": liked})
    assert (ends(tables, SAW), told) == ([("u1", "f1"), ("u2", "f1")], [])
    assert ends(tables, ("User", "LIKED", "Film")) == [("u1", "f2")]


def test_where_keeps_the_line_of_a_row(tmp_path: Path) -> None:
    text = "film_id,title,kind\nf1,A,film\nf2,B,book\nf2,C,film\nf2,D,film\n"
    films = {**written(tmp_path, "films.csv", text), "where": {"kind": "film"}}
    message = refused({}, Film=films)
    assert "films.csv:5: found film_id='f2', title='D'" in message
    assert "films.csv:4 has film_id='f2', title='C'" in message


def test_where_without_matches_is_reported() -> None:
    log = frame(**LOG)
    _, told = load({"LIKED": {"source": log, "where": {"event": "like"}}, "SAW": seen()})
    assert told == ["no row of the table of relationships.LIKED has 'like' in event; it has 'saw', 'liked'"]
    assert "LIKED.where: found column 'evnt', which" in refused({"LIKED": {"source": log, "where": {"evnt": "like"}}})


def test_source_used_for_two_behaviors_is_reported(tmp_path: Path) -> None:
    log = written(tmp_path, "log.csv", "user_id,film_id,event\nu1,f1,saw\nu1,f2,liked\n")
    again = {"source": str(tmp_path / "." / "log.csv")}
    for one, two in ((log, again), ({"source": (both := frame(**LOG))}, {"source": both})):
        _, told = load({"SAW": one, "LIKED": two})
        assert len(told) == 1
        assert "rows with user_id and film_id of one source are loaded as SAW and LIKED; to select" in told[0]
    _, told = load({"SAW": log, "LIKED": {**again, "where": {"event": "liked"}}})
    assert told[0].startswith("1 row with user_id and film_id of one source is loaded as SAW and LIKED")


def test_neo4j_type_column_selects_rows(tmp_path: Path) -> None:
    rels = written(tmp_path, "rels.csv", ":START_ID,:END_ID,:TYPE\nu1,f1,SAW\nu1,f2,LIKED\nu2,f1,HATED\n")
    columns = {"from": ":START_ID", "to": ":END_ID"}
    tables, told = load({"SAW": {**rels, **columns}, "LIKED": {**rels, **columns}})
    assert (ends(tables, SAW), ends(tables, ("User", "LIKED", "Film"))) == ([("u1", "f1")], [("u1", "f2")])
    assert told[0] == f"2 rows of {tmp_path / 'rels.csv'} left out of SAW: the column :TYPE says 'LIKED', 'HATED'"
    assert "found only 'SAW', 'LIKED', 'HATED' in the column :TYPE" in refused({"HAS_GENRE": {**rels, **columns}})
    tables, told = load({"SAW": {**rels, **columns, "where": {":TYPE": ["SAW", "HATED"]}}})
    assert (len(ends(tables, SAW)), told) == (2, [])


def test_neo4j_label_column_selects_rows(tmp_path: Path) -> None:
    films = written(tmp_path, "n.csv", "film_id,:LABEL\nf1,Film\nf2,Sequel;Film\np1,Person\n")
    tables, told = load({}, Film=films)
    assert tables.nodes["Film"].column("film_id").to_pylist() == ["f1", "f2"]
    assert told == [f"1 row of {tmp_path / 'n.csv'} left out of Film: the column :LABEL says 'Person'"]
    tables, _ = load({"SAW": seen(user_id=["u1"], film_id=["f2"])}, Film={**films, "where": {":LABEL": "Sequel"}})
    assert tables.nodes["Film"].column("film_id").to_pylist() == ["f2"]


def test_skipped_rows_make_no_nodes() -> None:
    genres = {"source": frame(film_id=["f1", "f9"], genre=["Comedy", "Drama"]), "skip_unknown": True}
    tables, _ = load({"HAS_GENRE": genres}, Film={"source": frame(film_id=["f1"])})
    assert tables.nodes["Genre"].column("genre").to_pylist() == ["Comedy"]


def test_from_ends_without_an_end_is_refused() -> None:
    message = refused({}, Genre={"from_ends": True})
    assert "nodes.Genre.from_ends: found true, but no relationship of the mapping ends at a Genre" in message


def test_texts_like_lists_are_reported() -> None:
    films = {"source": frame(film_id=["f1", "f2"], title=["['Alien', 'Aliens']", "[REC]"])}
    tables, told = load({"SAW": seen(user_id=["u1"], film_id=["f2"])}, Film=films)
    assert tables.nodes["Film"].column("title").to_pylist() == ["['Alien', 'Aliens']", "[REC]"]
    assert told[0].startswith("1 row of the table of nodes.Film: title is a list written as text; it is kept as it is")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_graph(tmp_path / "films.lbug", create=True) as store:
        films = {"source": frame(film_id=["f1", "f2"], title=["Alien", "Jaws"])}
        store.write(TablesLoader().load({"nodes": {"Film": films}, "relationships": {"SAW": seen()}}, SCHEMA))
        yield store


def into(store: Any, saw: dict[str, Any], **nodes: Any) -> list[str]:
    told: list[str] = []
    with notices(told.append):
        store.write(TablesLoader().load({"nodes": nodes, "relationships": {"SAW": saw}}, SCHEMA))
    return told


MORE = seen(user_id=["u2", "u2"], film_id=["f1", "f9"])


def test_loading_only_behaviors_keeps_titles(store: Any) -> None:
    into(store, seen(user_id=["u9"], film_id=["f1"]))
    assert store.cypher("MATCH (f:Film) RETURN f.title ORDER BY f.film_id")["f.title"].tolist() == ["Alien", "Jaws"]
    assert len(store.ids("User")) == 2


def test_end_in_no_source_or_graph_is_refused(store: Any) -> None:
    with pytest.raises(DataError, match=r"SAW:2: film_id: found 'f9'; expected the key of a Film; or say skip_unknown"):
        into(store, MORE)
    assert len(store.ids("Film")) == 2


def test_skip_unknown_drops_rows_and_reports(store: Any) -> None:
    told = into(store, {**MORE, "skip_unknown": True}, User={"from_ends": True})
    assert len(told) == 1
    assert told[0].startswith("1 row left out of SAW: no Film has the film_id, such as 'f9' (the table of")
    assert sorted(store.ids("User").to_pylist()) == ["u1", "u2"]
    assert len(store.ids("Film")) == 2


def test_from_ends_makes_nodes_and_keeps_others(store: Any) -> None:
    assert into(store, MORE, Film={"from_ends": True}) == []
    films = store.read().nodes["Film"].select(["film_id", "title"]).sort_by("film_id").to_pylist()
    assert [film["title"] for film in films] == ["Alien", "Jaws", None]


def test_from_ends_beside_a_source_adds_the_others() -> None:
    films = {"source": frame(film_id=["f1"], title=["Alien"]), "from_ends": True}
    tables, _ = load({"SAW": MORE}, Film=films)
    assert tables.nodes["Film"].select(["film_id", "title"]).to_pylist() == [
        {"film_id": "f1", "title": "Alien"},
        {"film_id": "f9", "title": None},
    ]


def test_skip_unknown_where_all_ends_make_nodes_is_refused() -> None:
    nodes: dict[str, Any] = {"User": {"from_ends": True}, "Film": {"from_ends": True}}
    message = refused({"SAW": {**MORE, "skip_unknown": True}}, **nodes)
    assert "relationships.SAW.skip_unknown: found true, but unknown ends of User and Film create nodes" in message


def test_notice_is_a_warning_in_python() -> None:
    with pytest.warns(DataNotice, match="no genre"):
        check(TablesLoader().load({"relationships": {"SAW": seen(), "HAS_GENRE": {"source": frame(**GENRES)}}}, SCHEMA))


@pytest.mark.parametrize(
    ("wanted", "cells", "kept"),
    [
        (True, ["True", "yes", "false", "x"], 2),
        (date(2024, 1, 31), ["2024-01-31", "x"], 1),
        ([4, 4.5], ["4.0", "4.50", "04", "x"], 2),
        (2**70, [str(2**70), "1"], 1),
    ],
)
def test_where_matches_values_in_any_notation(wanted: Any, cells: list[str], kept: int) -> None:
    films = [str(n) for n in range(len(cells))]
    source = frame(user_id=["u1"] * len(cells), film_id=films, kind=cells)
    tables, told = load({"SAW": {"source": source, "where": {"kind": wanted}}})
    assert (tables.edges[SAW].num_rows, told) == (kept, [])


def test_where_values_without_rows_are_reported() -> None:
    source = frame(user_id=["u1"], film_id=["f1"], kind=["buy"])
    _, told = load({"SAW": {"source": source, "where": {"kind": ["buy", "reorderd"]}}})
    assert told == ["no row of the table of relationships.SAW has 'reorderd' in kind; it has 'buy'"]


@pytest.mark.parametrize("column", ["Title", " TITLE", "title:string", "Ti_tle"])
def test_column_spelled_like_a_property_is_reported(column: str) -> None:
    source = pd.DataFrame({"film_id": ["f1"], column: ["Alien"]})
    name = column.strip()
    _, told = load({}, Film={"source": source})
    assert told == [
        f"the column {name!r} of the table of nodes.Film is not read; "
        f"to read it as title: properties: {{title: {name!r}}} in the mapping"
    ]
    assert load({}, Film={"source": source, "properties": {"title": name}})[1] == []


def test_list_at_a_behavior_end_error_names_the_fix() -> None:
    source = frame(user_id=["u1"], film_id=[["f1", "f2"]])
    assert "with list_separator also of lists" in refused({"SAW": {"source": source}})
    tables, _ = load({"SAW": {"source": source, "list_separator": ","}})
    assert tables.edges[SAW].num_rows == 2


def test_duplicate_parquet_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table([["f1"], ["a"], ["b"]], ["film_id", "title", "title"]), tmp_path / "f.parquet")
    assert "f.parquet: title: found the column twice" in refused({}, Film={"source": tmp_path / "f.parquet"})


@pytest.mark.parametrize("mapping", [None, 5, [{}], frame(user_id=["u1"])])
def test_mapping_of_wrong_type_is_refused(mapping: Any) -> None:
    with pytest.raises(UsageError, match="expected a dictionary, or a YAML file"):
        TablesLoader().load(mapping, SCHEMA)


@pytest.mark.parametrize("wanted", [None, [], [None], {"a": 1}])
def test_where_without_a_value_is_refused(wanted: Any) -> None:
    message = refused({"SAW": {**seen(), "where": {"user_id": wanted}}})
    assert message.endswith("expected a text, a number, true or false, or a list of them")
    assert message.startswith("1 problem")


@pytest.mark.parametrize("mapping", [{}, {"nodes": {}}, {"relationships": {}}, {"nodes": None}])
def test_mapping_without_source_is_refused(mapping: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected the key 'nodes' or 'relationships', with a source"):
        TablesLoader().load(mapping, SCHEMA)


def test_second_load_may_hold_nodes_only(store: Any) -> None:
    store.write(TablesLoader().load({"nodes": {"Film": {"source": frame(film_id=["f1"], title=["New"])}}}, SCHEMA))
    assert store.cypher("MATCH (f:Film) RETURN f.title ORDER BY f.film_id")["f.title"].tolist() == ["New", "Jaws"]
