"""Bad input of every kind: the message, and that nothing was written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CINEMA, FAST, with_little_room, without_log

from kgrec.runs.folder import FORMAT
from kgrec.store import open_graph

pytestmark = pytest.mark.slow

MAPPING = """\
nodes:
  Item: {source: items.csv, key: item_id}
relationships:
  RATED: {source: ratings.csv, from: user_id, to: item_id}
"""
SCHEMA = """\
name: shop
nodes:
  User: {key: user_id}
  Item: {key: item_id, properties: {title: string}}
relationships:
  RATED: {from: User, to: Item, properties: {stars: float, at: float}}
roles:
  users: [User]
  items: [Item]
  behaviours: {RATED: {weight: stars, time: at}}
"""
RATINGS = "user_id,item_id,stars,at\nu1,i1,5,1\nu2,i2,4,2\n"
ITEMS = "item_id,title\ni1,One\ni2,Two\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the cinema data to be spoilt."""
    return Path(shutil.copytree(CINEMA, tmp_path / "source"))


@pytest.fixture
def refused(kgrec, tmp_path):
    """Loads the spoilt atomic files and returns what the user reads, one problem a line."""

    def load(*words: object) -> list[str]:
        graph = tmp_path / "shop.lbug"
        before = sorted(tmp_path.rglob("*"))
        failed = kgrec("load", *(words or ("atomic", tmp_path / "source")), "--into", graph)
        assert (failed.code, failed.out) == (1, "")
        assert sorted(tmp_path.rglob("*")) == before
        first, *problems = failed.err.rstrip().splitlines()
        assert first == f"error: {len(problems)} problem{'s' if len(problems) > 1 else ''} in the data:"
        return [problem.strip().replace(f"{tmp_path}/", "") for problem in problems]

    return load


@pytest.fixture
def refused_tables(refused, tmp_path):
    """Loads CSV files through a mapping, some of them given by the test."""

    def load(**files: str | bytes) -> list[str]:
        given = {"mapping.yaml": MAPPING, "schema.yaml": SCHEMA, "ratings.csv": RATINGS, "items.csv": ITEMS}
        for name, content in (given | {name.replace("_", "."): text for name, text in files.items()}).items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return refused("tables", tmp_path / "mapping.yaml", "--schema", tmp_path / "schema.yaml")

    return load


def change(path: Path, row: int, text: str | bytes) -> None:
    """Replace a line (from 1) of a file."""
    lines = path.read_bytes().splitlines()
    lines[row - 1] = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_missing_folder_and_missing_file(refused, refused_tables, source):
    assert refused("atomic", "nowhere") == ["nowhere: found no such folder; expected a folder of RecBole atomic files"]
    (source / "cinema.inter").unlink()
    assert refused() == ["source: found no .inter file; expected NAME.inter, or NAME.train.inter and NAME.test.inter"]
    mapping = MAPPING.replace("items.csv", "gone.csv")
    assert refused_tables(mapping_yaml=mapping) == [
        "gone.csv: found no such file or directory; expected a readable file"
    ]


def test_empty_file(refused, source):
    (source / "cinema.item").write_text("")
    (source / "cinema.inter").write_text("\n\n")
    assert refused() == [
        "source/cinema.inter: found an empty file; expected a header and rows",
        "source/cinema.item: found an empty file; expected a header and rows",
    ]


def test_wrong_header(refused, source):
    change(source / "cinema.inter", 1, "user:token\titem_id:token\trating:float\ttimestamp:float")
    change(source / "cinema.item", 1, "item_id:token\ttitle\trelease_year:token\tgenre:words")
    assert refused() == [
        "source/cinema.inter:1: found the header user, item_id, rating, timestamp; expected a column user_id",
        "source/cinema.item:1: found 'title'; expected name:type with a type of token, token_seq, float, float_seq",
        "source/cinema.item:1: found 'genre:words'; expected name:type with a type of "
        "token, token_seq, float, float_seq",
    ]


def test_bytes_not_utf8_and_ragged_rows(refused, source):
    change(source / "cinema.item", 3, "f2\tCaf\xe9\t1965\tDrama".encode("latin-1"))
    change(source / "cinema.inter", 4, "u1\tf1\t5")
    change(source / "cinema.inter", 9, "u1\tf1\t5\t1600000000\t1")
    assert refused() == [
        "source/cinema.inter:4: found 3 fields; expected 4 fields",
        "source/cinema.inter:9: found 5 fields; expected 4 fields",
        "source/cinema.item:3: found byte 0xe9 at position 7 of the line, which is not UTF-8; "
        "expected UTF-8 text; save the file as UTF-8",
    ]


def test_invalid_numbers_and_numbers_out_of_range(refused, source):
    change(source / "cinema.inter", 2, "u1\tf6\tfive\t1600000000")
    change(source / "cinema.inter", 3, "u1\tf23\tNaN\t1600000060")
    change(source / "cinema.inter", 4, "u1\tf11\tinf\t1600000120")
    change(source / "cinema.inter", 5, "u1\tf12\t5\t1600000000000")
    change(source / "cinema.inter", 6, "u1\tf13\t5\t-1")
    seconds = "epoch seconds up to the year 2200, or an order from 0 on"
    assert sorted(refused()) == [
        "source/cinema.inter:2: rating: found 'five'; expected a value of type float",
        "source/cinema.inter:3: rating: found nan; expected a finite number",
        "source/cinema.inter:4: rating: found inf; expected a finite number",
        f"source/cinema.inter:5: timestamp: found 1600000000000.0; expected {seconds}; "
        "this looks like milliseconds: divide by 1000",
        f"source/cinema.inter:6: timestamp: found -1.0; expected {seconds}",
    ]


def test_duplicate_key_with_different_values(refused, source):
    with (source / "cinema.item").open("a") as file:
        file.write("f1\tAnother Title\t1999\tWestern\n")
    (problem,) = [line for line in refused() if "title" in line]
    assert problem.startswith("source/cinema.item:74: found item_id='f1', title='Another Title'")
    assert "while source/cinema.item:2 has item_id='f1', title='The Colony and the Comet'" in problem
    assert problem.endswith("expected one row per key, or equal rows")


def test_edge_to_unknown_node(refused_tables):
    rows = RATINGS + "u1,i9,3,4\nu2,i8,3,5\n"
    expected = "expected the key of a Item; or say skip_unknown: true for RATED in the mapping"
    assert refused_tables(ratings_csv=rows) == [
        f"ratings.csv:4: item_id: found 'i9'; {expected}",
        f"ratings.csv:5: item_id: found 'i8'; {expected}",
    ]


def test_unknown_column_in_mapping(refused_tables):
    mapping = MAPPING.replace("to: item_id", "to: itm_id").replace("key: item_id", "key: sku")
    assert refused_tables(mapping_yaml=mapping) == [
        "mapping.yaml: nodes.Item.key: found column 'sku', which is not in items.csv; expected one of item_id, title",
        "mapping.yaml: relationships.RATED.to: found column 'itm_id', which is not in ratings.csv; "
        "expected one of user_id, item_id, stars, at; near matches: item_id",
    ]


def test_train_without_interactions(refused, source):
    header = (source / "cinema.inter").read_text().splitlines()[0]
    (source / "cinema.inter").write_text(header + "\n")
    assert refused() == ["cinema: found no behavior at all; expected at least one INTERACTED"]


def test_schema_error_names_its_line(kgrec, tmp_path):
    (tmp_path / "schema.yaml").write_text(SCHEMA.replace("to: Item", "to: Itm"))
    failed = kgrec(
        "load", "tables", "mapping.yaml", "--schema", tmp_path / "schema.yaml", "--into", tmp_path / "g.lbug"
    )
    assert failed.code == 1
    assert re.search(r"schema\.yaml:6: .*'Itm'", failed.err)
    assert [path.name for path in tmp_path.iterdir()] == ["schema.yaml"]


def test_refused_load_keeps_the_graph(kgrec, source, cinema):
    before = cinema.read_bytes()
    change(source / "cinema.inter", 2, "u1\tf6\tfive\t1600000000")
    assert kgrec("load", "atomic", source, "--into", cinema).code == 1
    assert cinema.read_bytes() == before


def test_user_without_train_rows_gets_popular_items(kgrec, source, tmp_path):
    with (source / "cinema.user").open("a") as file:
        file.write("newcomer\t30\twriter\n")
    graph = tmp_path / "shop.lbug"
    assert kgrec("load", "atomic", source, "--into", graph).code == 0
    assert kgrec("train", graph, "--set", FAST).code == 0
    new = json.loads(kgrec("recommend", graph, "newcomer", "--k", 3, "--json").out)
    popular = kgrec("recommend", graph, "stranger", "--on-unknown", "popular", "--k", 3, "--json")
    assert [row["item_id"] for row in new] == [row["item_id"] for row in json.loads(popular.out)]


def test_unknown_user(kgrec, trained_cinema):
    failed = kgrec("recommend", trained_cinema, "u1", "u1x")
    assert (failed.code, failed.out) == (2, "")
    assert re.fullmatch(r"error: unknown user: 'u1x'\. .*on_unknown='popular'.*\n", failed.err)
    popular = kgrec("recommend", trained_cinema, "u1x", "--on-unknown", "popular", "--k", 2)
    assert popular.code == 0
    assert popular.out.count("u1x") == 2
    wrong = kgrec("recommend", trained_cinema, "u1x", "--on-unknown", "guess")
    assert (wrong.code, wrong.err) == (2, "error: on_unknown='guess'. Expected 'raise' or 'popular'\n")


@pytest.mark.parametrize("k", [0, -3])
@pytest.mark.parametrize(
    "command",
    [
        ["recommend", "GRAPH", "u1"],
        ["nearest", "GRAPH", "--node", "f1"],
        ["train", "GRAPH"],
        ["publish", "GRAPH"],
        ["benchmark", str(CINEMA)],
    ],
    ids=lambda command: command[0],
)
def test_k_below_one(kgrec, trained_cinema, command, k):
    failed = kgrec(*[trained_cinema if word == "GRAPH" else word for word in command], "--k", k)
    assert (failed.code, failed.out) == (2, "")
    assert re.search(rf"k(=\[| is too small: ){k}\]?\. Expected at least 1", failed.err)
    assert len(visible(trained_cinema.with_suffix(".runs"))) == 1


def test_k_above_number_of_items_gives_a_short_list(kgrec, trained_cinema):
    rows = json.loads(kgrec("recommend", trained_cinema, "u1", "--k", 10_000, "--json").out)
    assert 0 < len(rows) < 72
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))


def test_graph_locked_by_another_writer(kgrec, cinema):
    with open_graph(cinema, create=True):
        for words in (["load", "atomic", CINEMA, "--into", cinema], ["publish", cinema]):
            failed = kgrec(*words)
            assert (failed.code, failed.out) == (4, "")
            assert failed.err.startswith(f"error: {cinema} is open for writing in ")
            assert "wait until it is closed there" in failed.err
        assert kgrec("recommend", cinema, "u1").code == 0
        assert kgrec("cypher", cinema, "MATCH (n:Item) RETURN count(*)").code == 0


def visible(folder: Path) -> list[Path]:
    """What a folder holds beside locks and leases, whose names begin with a dot."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def test_run_of_a_newer_version(kgrec, cinema):
    (folder,) = visible(cinema.with_suffix(".runs"))
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "format": 99}))
    failed = kgrec("recommend", cinema, "u1", "--run", folder.name)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == f"error: {folder} has format 99. Expected {FORMAT}. Update kgrec\n"


@pytest.mark.parametrize("room", [1_000, 60_000])
def test_full_disk_while_loading(tmp_path, room):
    message = with_little_room(room, "load", "atomic", CINEMA, "--into", tmp_path / "shop.lbug")
    assert message.startswith("error: cannot ")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_writing_a_run(cinema, tmp_path):
    message = with_little_room(170_000, "train", cinema, "--set", FAST, "--runs", tmp_path / "runs")
    assert re.match(rf"error: {tmp_path}/runs/\S+ cannot be written: .*File too large", message)
    assert visible(tmp_path / "runs") == []


def test_full_disk_while_publishing(cinema):
    before = cinema.read_bytes()
    assert with_little_room(100_000, "publish", cinema).startswith(f"error: cannot write {cinema}: ")
    assert cinema.read_bytes() == before
    assert sorted(path.name for path in visible(cinema.parent)) == ["cinema.lbug", "cinema.runs"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("load", "atomic", CINEMA, "--into", "{graph}"), "cannot open {graph} for writing: Permission denied"),
        (("train", "{graph}"), "{runs} cannot be written: permission denied. Choose another folder with --runs"),
        (("publish", "{graph}"), "the lock file of the graph cannot be written: {lease}: permission denied"),
        (("export", "{graph}", "{runs}/graph.ttl"), "cannot write {runs}/graph.ttl: permission denied"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_folder_of_another_account_is_one_error(cinema: Path, words: tuple[object, ...], told: str) -> None:
    places = {"graph": cinema, "runs": cinema.with_suffix(".runs"), "lease": cinema.parent / f".{cinema.name}.lease"}
    places["lease"].touch(mode=0o444)
    for path in (cinema, cinema.parent, places["runs"]):
        path.chmod(0o444 if path.is_file() else 0o555)
    done = without_rights(*(str(word).format(**places) for word in words))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {told.format(**places)}\n")


@pytest.mark.parametrize("words", [("runs", "list"), ("recommend",), ("publish",), ("forget",), ("doctor",)])
def test_runs_of_another_account_are_not_treated_as_absent(cinema: Path, words: tuple[str, ...]) -> None:
    runs = cinema.with_suffix(".runs")
    runs.chmod(0)
    more = {"recommend": ["u1"], "forget": ["user", "u1"]}.get(words[0], [])
    done = without_rights(*words, str(cinema), *more)
    assert done.returncode == 1
    assert re.search(rf"{runs}\S* cannot be (read|written): [Pp]ermission denied", done.stderr + done.stdout)
    assert "Traceback" not in done.stderr


def without_rights(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an account that may read and write what the modes of files allow, and no more."""
    command = [sys.executable, "-m", "kgrec", *words]
    if os.geteuid() == 0:  # who may do everything, unless that right is given up
        if not shutil.which("setpriv"):
            pytest.skip("run this as another account than root")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


INTERRUPTED = """
import os, signal, sys
from importlib import import_module
place, _, name = sys.argv.pop(1).rpartition(".")
from kgrec.__main__ import main
module = import_module(place)
work = getattr(module, name)
def started(*arguments, **named):
    os.kill(os.getpid(), signal.SIGINT)
    return work(*arguments, **named)
setattr(module, name, started)
main()
"""


INTERRUPTED_IMPORT = """
import os, signal, sys
from kgrec.__main__ import main
class CtrlC:
    def find_spec(name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, CtrlC)
main()
"""


def interrupt(stage: str, *words: object) -> None:
    """Press Ctrl-C when a function starts; the command must end as if it had never begun."""
    command = [sys.executable, "-c", INTERRUPTED, stage, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert without_log(done.stderr) == "interrupted; nothing was left half-written\n"
    assert (done.returncode, done.stdout) == (130, "")


@pytest.mark.parametrize("stage", ["loaders.atomic.read_folder", "kgrec.store.ladybug.engine._commit"])
def test_ctrl_c_while_loading(tmp_path, stage):
    interrupt(stage, "load", "atomic", CINEMA, "--into", tmp_path / "shop.lbug")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["kgrec.training.pipeline._tune_all", "kgrec.runs.folder_content.save_file"])
def test_ctrl_c_while_training(cinema, tmp_path, stage):
    interrupt(stage, "train", cinema, "--set", FAST, "--runs", tmp_path / "runs")
    assert visible(tmp_path / "runs") == []


def test_ctrl_c_while_publishing(cinema):
    before = cinema.read_bytes()
    interrupt("kgrec.store.ladybug.store.copy", "publish", cinema)
    assert cinema.read_bytes() == before
    assert sorted(path.name for path in visible(cinema.parent)) == ["cinema.lbug", "cinema.runs"]


def test_ctrl_c_during_a_benchmark(tmp_path):
    folder = tmp_path / "cinema"
    shutil.copytree(CINEMA, folder)
    header, *rows = (folder / "cinema.inter").read_text().splitlines()
    for part, of_part in (("train", rows[::2]), ("test", rows[1::2])):
        (folder / f"cinema.{part}.inter").write_text("\n".join([header, *of_part]) + "\n")
    interrupt("kgrec.training.pipeline._tune_all", "benchmark", folder, "--out", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_while_importing():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT, "doctor"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert without_log(done.stderr) == "interrupted; nothing was left half-written\n"
