import warnings
from datetime import datetime
from pathlib import Path

import pytest

from kgrec._util.notices import DataNotice
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, SchemaError
from loaders.atomic import AtomicLoader, derive_schema

pytestmark = pytest.mark.filterwarnings("ignore:1 item is not in:UserWarning")

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tdomain:token\n"
TRIPLES = "head_id:token\trelation_id:token\ttail_id:token\n"
FILES = {
    "shop.train.inter": INTER + "u1\ti1\t5\t10\tbooks\nu1\ti2\t3\t20\tbooks\nu2\ti1\t4\t15\tbooks\nu9\ti9\t1\t5\t\n",
    "shop.test.inter": INTER + "u1\ti3\t2\t30\tfilms\n",
    "shop.inter": "user_id:token\titem_id:token\nghost\ti1\n",
    "shop.item": "item_id:token\tmovie_title:token_seq\tdomain:token\tgenres:token_seq\tsummary:token_seq"
    "\tscores:float_seq\n"
    'i1\tAlien\tbooks\tSci-Fi, Horror\t"Alien" is a film about a ship\t1.5 2\n'
    "i2\tTootsie\tbooks\tComedy, Drama\tan actor who needs work\t\n"
    "i3\tBrazil\tfilms\tSci-Fi, Comedy\t\t3\n"
    "i4\tJaws\tfilms\tHorror\tnobody swims any more\t\n",
    "shop.user": "user_id:token\tage:token\tgender:token\nu1\t30\tF\nu2\t\tM\nu3\t50\tF\n",
    "shop.kg": TRIPLES + "http://x.org/Alien\tfilm.film.director\thttp://x.org/Ridley_Scott\n"
    "http://x.org/Brazil\tfilm.film.director\thttp://x.org/Terry_Gilliam\n"
    "http://x.org/Alien\tsequel\thttp://x.org/Aliens\n"
    "http://x.org/Alien\tsequel\thttp://x.org/Brazil\n"
    "http://x.org/Alien\tsequel\thttp://x.org/Brazil\n"
    "http://x.org/Aliens\tINTERACTED\thttp://x.org/Ridley_Scott\n",
    "shop.link": "item_id:token\tentity_id:token\n"
    "i1\thttp://x.org/Alien\ni3\thttp://x.org/Brazil\ni77\thttp://x.org/Aliens\n",
    "shop.net": "source_id:token\ttarget_id:token\nu1\tu2\nu2\tu8\n",
}


def folder_of(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return folder_of(tmp_path, FILES)


@pytest.fixture
def graph(shop: Path) -> GraphTables:
    return check(AtomicLoader().load(shop))


def complaint(folder: Path, schema: Schema | None = None) -> str:
    with pytest.raises(DataError) as caught:
        check(AtomicLoader().load(folder, schema))
    return str(caught.value).replace(f"{folder}/", "").replace(str(folder), "FOLDER")


def edges(graph: GraphTables, *edge_type: str) -> set[tuple[str, str]]:
    table = graph.edges[edge_type[0], edge_type[1], edge_type[2]]
    return set(zip(table.column("src").to_pylist(), table.column("dst").to_pylist(), strict=True))


def test_interactions_come_from_benchmark_files_only(graph: GraphTables) -> None:
    rows = graph.edges["User", "INTERACTED", "Item"].to_pylist()
    assert {"src": "u1", "dst": "i3", "rating": 2.0, "timestamp": 30.0, "split": "test"} in rows
    assert [row["split"] for row in rows] == ["train"] * 4 + ["test"]
    assert "ghost" not in graph.nodes["User"].column("user_id").to_pylist()


def test_roles_follow_the_headers(graph: GraphTables) -> None:
    behavior = graph.schema.roles.behaviours["INTERACTED"]
    assert (behavior.weight, behavior.time, behavior.split) == ("rating", "timestamp", "split")
    assert graph.schema.roles.domain == "domain"
    assert graph.schema.nodes["Item"].name == "movie_title"


def test_users_and_items_without_rows_become_nodes(graph: GraphTables) -> None:
    assert graph.nodes["User"].column("user_id").to_pylist() == ["u1", "u2", "u3", "u9", "u8"]
    assert graph.nodes["Item"].column("item_id").to_pylist() == ["i1", "i2", "i3", "i4", "i9"]
    assert graph.nodes["User"].column("age").to_pylist() == ["30", None, "50", None, None]


def test_recurring_words_become_nodes_and_prose_stays_text(graph: GraphTables) -> None:
    assert set(graph.nodes["Genre"].column("genre_id").to_pylist()) == {"Sci-Fi", "Horror", "Comedy", "Drama"}
    assert ("i1", "Sci-Fi") in edges(graph, "Item", "HAS_GENRE", "Genre")
    assert graph.nodes["Item"].column("summary")[0].as_py() == '"Alien" is a film about a ship'
    assert graph.nodes["Item"].column("scores")[0].as_py() == ["1.5", "2"]


def test_float_lists_of_one_length_are_a_vector(tmp_path: Path) -> None:
    item = "item_id:token\ttitle:token_seq\tpicture:float_seq\ni1\tAlien\t1.5 2\ni2\tJaws\t\ni3\tBrazil\t0 1e-3\n"
    user = "user_id:token\tface:float_seq\nu1\t0.5 1 2\n"
    files = {"shop.inter": "user_id:token\titem_id:token\nu1\ti1\n", "shop.item": item, "shop.user": user}
    graph = check(AtomicLoader().load(folder_of(tmp_path, files)))
    assert graph.schema.nodes["Item"].properties["picture"] == "vector"
    assert graph.nodes["Item"].column("picture").to_pylist() == [[1.5, 2], None, [0, pytest.approx(1e-3)]]
    assert graph.nodes["User"].column("face").to_pylist() == [[0.5, 1, 2]]
    assert not any("face" in sentence for sentence in graph.schema.nodes["User"].text)
    (tmp_path / "shop.item").write_text(item + "i4\tTootsie\t1 2 3\ni5\tHeat\t1 nan\ni6\tFargo\t1 two\n")
    message = complaint(tmp_path)
    assert "shop.item:5: picture: found length 3; expected length 2, that of most vectors 'picture'" in message
    assert "shop.item:6: picture: found nan at position 2; expected finite numbers" in message
    assert "shop.item:7: picture: found ['1', 'two']; expected a value of type vector" in message


def test_linked_item_merges_with_its_entity(graph: GraphTables) -> None:
    assert edges(graph, "Item", "film_film_director", "Entity") == {
        ("i1", "http://x.org/Ridley_Scott"),
        ("i3", "http://x.org/Terry_Gilliam"),
    }
    assert edges(graph, "Item", "sequel", "Item") == {("i1", "i3")}
    assert edges(graph, "Item", "sequel", "Entity") == {("i1", "http://x.org/Aliens")}
    assert graph.schema.relationships["film_film_director"].from_ == ("Item",)
    assert graph.schema.relationships["sequel"].to == ("Item", "Entity")


def test_link_of_unknown_item_is_dropped(graph: GraphTables) -> None:
    assert "i77" not in graph.nodes["Item"].column("item_id").to_pylist()
    assert "http://x.org/Aliens" in graph.nodes["Entity"].column("entity_id").to_pylist()


def test_relation_name_avoids_names_in_use(graph: GraphTables) -> None:
    assert edges(graph, "Entity", "INTERACTED_2", "Entity") == {("http://x.org/Aliens", "http://x.org/Ridley_Scott")}


def test_entities_with_iris_have_readable_names(graph: GraphTables) -> None:
    assert set(graph.nodes["Entity"].column("name").to_pylist()) == {"Ridley Scott", "Terry Gilliam", "Aliens"}


def test_net_file_gives_user_relationships(graph: GraphTables) -> None:
    assert edges(graph, "User", "KNOWS", "User") == {("u1", "u2"), ("u2", "u8")}


def test_one_entity_may_be_two_items(tmp_path: Path) -> None:
    folder_of(tmp_path, FILES | {"shop.link": FILES["shop.link"] + "i2\thttp://x.org/Brazil\n"})
    graph = check(AtomicLoader().load(tmp_path))
    assert edges(graph, "Item", "sequel", "Item") == {("i1", "i3"), ("i1", "i2")}


def test_text_templates_are_derived(graph: GraphTables) -> None:
    item = ("{movie_title}", "genres: {HAS_GENRE}", "summary: {summary}")
    assert graph.schema.nodes["Item"].text == item
    assert graph.schema.nodes["User"].text == ("age: {age}", "gender: {gender}", "latest: {INTERACTED:10}")


def test_written_schema_gives_the_same_graph(shop: Path) -> None:
    written = Schema.parse(derive_schema(shop).to_yaml())
    assert written == derive_schema(shop)
    assert AtomicLoader().load(shop, written) == AtomicLoader().load(shop)


def test_edited_schema_changes_types(shop: Path) -> None:
    edited = derive_schema(shop).to_yaml().replace("age: string", "age: int")
    graph = check(AtomicLoader().load(shop, Schema.parse(edited)))
    assert graph.nodes["User"].column("age").to_pylist() == [30, None, 50, None, None]


def test_schema_may_rename_labels_and_types(shop: Path) -> None:
    edited = derive_schema(shop).to_yaml().replace("Item", "Film").replace("INTERACTED", "RATED")
    graph = check(AtomicLoader().load(shop, Schema.parse(edited.replace("RATED_2", "INTERACTED"))))
    assert graph.edges["User", "RATED", "Film"].num_rows == 5
    assert graph.edges["Entity", "INTERACTED", "Entity"].num_rows == 1


def test_inter_file_alone_loads(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.b.inter": "user_id:token\titem_id:token\nu1\ti1\nu2\ti1\n"})
    snapshot = GraphSnapshot.from_tables(check(AtomicLoader().load(tmp_path)))
    assert (snapshot.n_users, snapshot.n_items, len(snapshot.behaviors)) == (2, 1, 2)
    assert snapshot.schema.name == "a.b"


def test_interaction_column_that_differs_from_items_is_kept(tmp_path: Path) -> None:
    inter = FILES["shop.test.inter"].replace("films", "books")
    graph = check(AtomicLoader().load(folder_of(tmp_path, FILES | {"shop.test.inter": inter})))
    assert graph.edges["User", "INTERACTED", "Item"].column("domain").to_pylist()[-1] == "books"


def test_item_domain_comes_from_interactions(tmp_path: Path) -> None:
    folder_of(tmp_path, {name: text for name, text in FILES.items() if name.endswith((".train.inter", ".test.inter"))})
    graph = check(AtomicLoader().load(tmp_path))
    assert dict(zip(*graph.nodes["Item"].to_pydict().values(), strict=True))["i3"] == "films"
    assert "domain" not in graph.edges["User", "INTERACTED", "Item"].column_names
    assert graph.schema.roles.domain == "domain"


def test_items_in_several_domains_are_all_named(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\tdomain:token\n"
    train = header + "u1\ti1\tart\nu1\ti2\tart\nu2\ti1\t\nu2\ti2\toffice\n"
    folder_of(tmp_path, {"shop.train.inter": train, "shop.test.inter": header + "u1\ti3\tart\nu2\ti1\toffice\n"})
    told = complaint(tmp_path)
    expected = "expected art as in a row before: one domain per item, or another name for the column"
    assert f"shop.train.inter:5: domain: found item i2 in office; {expected}" in told
    assert f"shop.test.inter:3: domain: found item i1 in office; {expected}" in told
    assert told.count("found item") == 2
    folder_of(
        tmp_path, {"shop.train.inter": train.replace("office", "art"), "shop.test.inter": header + "u1\ti3\tart\n"}
    )
    graph = check(AtomicLoader().load(tmp_path))
    assert set(graph.nodes["Item"].column("domain").to_pylist()) == {"art"}, "a row that names none contradicts nothing"


def test_missing_folder_fails(tmp_path: Path) -> None:
    assert "found no such folder; expected a folder of RecBole atomic files" in complaint(tmp_path / "gone")


def test_folder_without_interactions_fails(tmp_path: Path) -> None:
    assert "FOLDER: found no .inter file; expected NAME.inter" in complaint(tmp_path)


def test_two_data_sets_in_a_folder_fail(shop: Path) -> None:
    (shop / "other.item").write_text("item_id:token\nx\n")
    assert "FOLDER: found files of 2 data sets: other, shop; expected one data set per folder" in complaint(shop)


def test_benchmark_files_without_train_fail(tmp_path: Path) -> None:
    folder_of(tmp_path, {"shop.test.inter": FILES["shop.test.inter"]})
    assert "found benchmark files test; expected a .train.inter file beside them" in complaint(tmp_path)


def test_all_problems_of_all_files_are_reported(shop: Path) -> None:
    (shop / "shop.user").write_text("user_id\tage:number\n1\t2\n")
    (shop / "shop.kg").write_text("head:token\trelation_id:token\ttail_id:token\nx\ty\tz\n")
    (shop / "shop.link").write_text("item_id:token\tentity_id:token\ni1\n\te1\n")
    (shop / "shop.net").write_bytes(b"source_id:token\ttarget_id:token\n\xff\tu1\n")
    (shop / "shop.item").write_text("")
    message = complaint(shop)
    assert (
        "shop.user:1: found 'user_id'; expected name:type with a type of token, token_seq, float, float_seq" in message
    )
    assert "shop.user:1: found 'age:number'; expected name:type" in message
    assert "shop.kg:1: found the header head, relation_id, tail_id; expected a column head_id" in message
    assert "shop.link:2: found 1 field; expected 2 fields" in message
    assert "shop.net:2: found byte 0xff at position 1 of the line" in message
    assert "shop.item: found an empty file" in message


def test_missing_id_is_reported(shop: Path) -> None:
    (shop / "shop.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\na\tr\tb\n\tr\tb\na\t\tb\n")
    message = complaint(shop)
    assert "shop.kg:3: head_id: found nothing; expected an id" in message
    assert "shop.kg:4: relation_id: found nothing; expected an id" in message


def test_benchmark_files_with_different_headers_fail(shop: Path) -> None:
    (shop / "shop.test.inter").write_text("user_id:token\titem_id:token\nu1\ti3\n")
    message = complaint(shop)
    assert "shop.test.inter:1: found columns user_id, item_id; expected those of shop.train.inter: user_id" in message


def test_values_are_reported_with_file_and_line(shop: Path) -> None:
    row = "u2\ti2\t{}\t{}\tbooks\n"
    rows = row.format("good", 1) + row.format("nan", 2) + row.format("inf", 3) + row.format(1, -4)
    (shop / "shop.train.inter").write_text(FILES["shop.train.inter"] + rows)
    message = complaint(shop)
    assert "shop.train.inter:6: rating: found 'good'; expected a value of type float" in message
    assert "shop.train.inter:7: rating: found nan; expected a finite number" in message
    assert "shop.train.inter:8: rating: found inf; expected a finite number" in message
    assert "shop.train.inter:9: timestamp: found -4.0; expected epoch seconds" in message


def test_missing_ids_and_wrong_values_are_reported_together(shop: Path) -> None:
    (shop / "shop.train.inter").write_text(FILES["shop.train.inter"] + "\ti2\tgood\t1\tbooks\nu2\t\t1\t1\tbooks\n")
    (shop / "shop.item").write_text(FILES["shop.item"] + "\tAlien\tfilms\tspace, horror\t\t\n")
    message = complaint(shop)
    assert "shop.train.inter:6: user_id: found None; expected an id" in message
    assert "shop.train.inter:6: rating: found 'good'; expected a value of type float" in message
    assert "shop.train.inter:7: item_id: found None; expected an id" in message
    n_items = FILES["shop.item"].count("\n")
    assert f"shop.item:{n_items + 1}: item_id: found None; expected an id" in message
    assert message.startswith("4 problems")


@pytest.mark.filterwarnings("ignore::kgrec._util.notices.DataNotice")
def test_problems_name_columns_as_in_the_header(shop: Path) -> None:
    header, row = "user_id:token\titem_id:token\tList Price:float\n", "u1\ti1\tcheap\n"
    for name in ("shop.train.inter", "shop.test.inter"):
        (shop / name).write_text(header + row)
    assert "shop.train.inter:2: List Price: found 'cheap'" in complaint(shop)


def test_rows_without_id_are_not_duplicates(shop: Path) -> None:
    (shop / "shop.item").write_text("item_id:token\tmovie_title:token_seq\ni1\tA\n\tB\n\tC\n")
    assert complaint(shop).count("item_id: found None") == complaint(shop).count("item_id") == 2


def test_item_without_row_gets_domain_of_interactions(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\tdomain:token\nu1\ti1\tbook\nu1\ti2\tfilm\n"
    folder_of(tmp_path, {"a.inter": inter, "a.item": "item_id:token\ttitle:token_seq\ni1\tOne\n"})
    graph = check(AtomicLoader().load(tmp_path)).nodes["Item"].to_pydict()
    assert dict(zip(graph["item_id"], graph["domain"], strict=True)) == {"i1": "book", "i2": "film"}


def test_row_in_train_and_test_is_reported(shop: Path) -> None:
    (shop / "shop.test.inter").write_text(FILES["shop.test.inter"] + "u1\ti1\t5\t10\tbooks\n")
    message = complaint(shop)
    assert "shop.test.inter:3: found user_id='u1', item_id='i1'" in message
    assert "while shop.train.inter:2 has" in message


def test_contradicting_item_rows_are_reported(shop: Path) -> None:
    (shop / "shop.item").write_text(FILES["shop.item"] + "i1\tAliens\tbooks\t\t\t\n")
    message = complaint(shop)
    assert "shop.item:6: found item_id='i1'" in message
    assert "shop.item:2 has item_id='i1'" in message


def test_columns_and_relations_missing_in_schema_are_reported(shop: Path) -> None:
    schema = derive_schema(shop)
    (shop / "shop.user").write_text("user_id:token\tages:token\tgender:token\nu1\t30\tF\n")
    message = complaint(shop, schema)
    assert (
        "shop.user:1: age: found no such column; expected the property User.age of the schema; near matches: ages"
        in message
    )
    assert (
        "shop.user:1: ages: found unknown column 'ages'; expected a property of User in the schema (age, gender)"
        in message
    )
    (shop / "shop.user").unlink()
    assert "shop.user: found no such file; expected a file with columns age, gender" in complaint(shop, schema)


def test_relation_missing_in_schema_is_reported(shop: Path) -> None:
    schema = derive_schema(shop)
    with (shop / "shop.kg").open("a") as file:
        file.write("http://x.org/Alien\tsequels\thttp://x.org/Aliens\n")
    message = complaint(shop, schema)
    expected = "expected a relationship type sequels in the schema; near matches: sequel"
    assert f"shop.kg:8: relation_id: found relation 'sequels'; {expected}" in message


def test_schema_with_two_item_labels_is_refused(shop: Path) -> None:
    with pytest.raises(SchemaError, match=r"roles.behaviours: found 4 names: VIEWED.*expected one; atomic files"):
        AtomicLoader().load(shop, Schema.load("commerce"))


def test_schema_without_entity_label_is_refused(shop: Path) -> None:
    (shop / "shop.link").unlink()
    without = "name: x\nnodes:\n  U: {key: id}\n  I: {key: id}\nrelationships:\n  R: {from: U, to: I}\n"
    schema = Schema.parse(without + "roles: {users: U, items: I, behaviours: {R: {}}}\n")
    with pytest.raises(
        SchemaError, match=r"found labels U, I; expected a label Entity for the entities of the .kg file"
    ):
        AtomicLoader().load(shop, schema)


@pytest.mark.parametrize(
    ("columns", "role", "told"),
    [
        (
            "price rating timestamp",
            {"weight": "rating", "time": "timestamp"},
            "the weight of a behavior is rating, the time of a behavior is timestamp; other candidates: price.",
        ),
        ("price volume", {}, "the time of a behavior is none; other candidates: price, volume."),
        ("position plays timestamp", {"weight": "plays", "time": "timestamp"}, "other candidates: position"),
        ("Stars Time", {"weight": "Stars", "time": "Time"}, None),
    ],
)
def test_weight_and_time_columns_found_by_name_are_reported(
    tmp_path: Path, columns: str, role: dict[str, str], told: str | None
) -> None:
    names = columns.split()
    head = "\t".join(["user_id:token", "item_id:token", *(f"{name}:float" for name in names)])
    folder_of(tmp_path, {"shop.inter": f"{head}\n" + "\t".join(["u1", "i1", *("1" for _ in names)]) + "\n"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schema = derive_schema(tmp_path)
    assert schema.roles.behaviours["INTERACTED"].model_dump(exclude_none=True) == role
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])


def test_many_relations_one_problem(tmp_path: Path) -> None:
    triples = "".join(f"i1\tr{i}\te1\n" for i in range(501))
    folder_of(tmp_path, {"shop.inter": "user_id:token\titem_id:token\nu1\ti1\n", "shop.kg": TRIPLES + triples})
    assert "shop.kg: relation_id: found 501 relations; expected at most 500" in complaint(tmp_path)


def test_many_category_columns_one_problem(tmp_path: Path) -> None:
    head = "\t".join(["item_id:token", *(f"c{i}:token_seq" for i in range(101))])
    rows = "".join("\t".join([item, *["x y"] * 101]) + "\n" for item in ("i1", "i2"))
    inter = "user_id:token\titem_id:token\nu1\ti1\n"
    folder_of(tmp_path, {"shop.inter": inter, "shop.item": f"{head}\n{rows}"})
    assert "shop.item:1: found 101 columns whose words would be nodes" in complaint(tmp_path)


def test_header_cells_trimmed_and_once(tmp_path: Path) -> None:
    folder_of(tmp_path, {"shop.inter": "user_id :token\t item_id: token\tx:float\tx:token\nu1\ti1\t1\t1\n"})
    assert (
        complaint(tmp_path)
        == "1 problem in the data:\n  shop.inter:1: x: found the column twice; expected each column once"
    )


def test_padded_ids_headers_and_words_are_trimmed(tmp_path: Path) -> None:
    files = {
        "t.inter": "user_id:token\t item_id : token\nu1\ti1\n u1\t i2 \n",
        "t.item": "item_id:token\ttags:token_seq\ni1\ta  b\ni2 \tc\n",
    }
    data = derive_schema(folder_of(tmp_path, files)).to_dict()
    data["nodes"]["Item"]["properties"]["tags"] = "strings"
    graph = check(AtomicLoader().load(tmp_path, Schema.from_dict(data)))
    assert edges(graph, "User", "INTERACTED", "Item") == {("u1", "i1"), ("u1", "i2")}
    assert graph.nodes["Item"].select(["item_id", "tags"]).to_pylist() == [
        {"item_id": "i1", "tags": ["a", "b"]},
        {"item_id": "i2", "tags": ["c"]},
    ]


def test_triples_without_items_are_reported(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\nu1\ti1\n"
    folder_of(tmp_path, {"shop.inter": inter, "shop.kg": TRIPLES + "i1\tr\te1\n"})
    with pytest.warns(DataNotice, match=r"no item is an entity of .*shop.kg; .* add a .link file"):
        AtomicLoader().load(tmp_path)


def test_time_in_text_column_is_reported_with_advice(tmp_path: Path) -> None:
    folder_of(tmp_path, {"shop.inter": "user_id:token\titem_id:token\ttimestamp:token\nu1\ti1\t2024-01-31\n"})
    with pytest.warns(DataNotice, match="the time of a behavior is none; other candidates: timestamp"):
        schema = derive_schema(tmp_path).model_dump(mode="json", by_alias=True, exclude_none=True)
    schema["relationships"]["INTERACTED"]["properties"]["timestamp"] = "datetime"
    schema["roles"]["behaviours"]["INTERACTED"]["time"] = "timestamp"
    tables = check(AtomicLoader().load(tmp_path, Schema.from_dict(schema)))
    times = tables.edges["User", "INTERACTED", "Item"].column("timestamp")
    assert times.to_pylist() == [datetime(2024, 1, 31)]


def test_words_of_users_become_nodes(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\nu1\ti1\nu2\ti1\n"
    users = "user_id:token\tsymptoms:token_seq\nu1\tcough fever\nu2\tfever cough\n"
    folder_of(tmp_path, {"shop.inter": inter, "shop.user": users})
    graph = AtomicLoader().load(tmp_path)
    assert sorted(graph.nodes["Symptom"].column("symptom_id").to_pylist()) == ["cough", "fever"]
    assert graph.edges["User", "HAS_SYMPTOM", "Symptom"].num_rows == 4
    assert "symptoms" not in graph.schema.nodes["User"].properties
    assert AtomicLoader().load(tmp_path, derive_schema(tmp_path)).edges.keys() == graph.edges.keys()
