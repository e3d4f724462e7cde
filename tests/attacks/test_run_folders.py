"""A tampered or untrusted run folder: every command raises one RunError that names the file."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from kgrec.config import SIGNALS, Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import RunError
from kgrec.hybrid.learn_blends import even_blend
from kgrec.hybrid.model import HybridModel
from kgrec.jobs.audit import audit_leakage
from kgrec.jobs.evaluate import evaluate_run
from kgrec.jobs.forget.job import forget
from kgrec.jobs.rollback import roll_back
from kgrec.jobs.train import publish_run
from kgrec.recommender import Recommender
from kgrec.runs.folder import FORMAT, find_run, read_run, unreadable_runs
from kgrec.runs.publications import HISTORY_FILE, publications
from kgrec.runs.publish import vectors_of
from kgrec.runs.save_load import save_model
from kgrec.runs.tables import run_facts
from kgrec.runs.tracking import figures
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signal
from kgrec.text import VectorCache, default_encoder, text_vectors
from kgrec.training.pipeline import Trained
from kgrec.training.report import blends_table, tried_table

pytestmark = pytest.mark.slow

Change = Callable[[Path], None]


def the_run(graph: Path) -> Path:
    """The folder of the one run of a graph."""
    [folder] = [path for path in graph.with_suffix(".runs").iterdir() if path.is_dir() and path.name[0] != "."]
    return folder


def trusted(run: Path) -> Path:
    """Make a run say nothing of the checksums of its files, as one who tampers with it would."""
    edit("run.json", lambda info: info.pop("files"))(run)
    return run


def show(graph: Path) -> None:
    """All that `kgrec runs show` and `kgrec runs track` read."""
    run = find_run(graph.with_suffix(".runs"))
    run_facts(run), tried_table(run.choices), blends_table(run.choices), list(figures(run))


def model(graph: Path) -> Recommender:
    """The recommender of the newest run."""
    return Recommender.load(find_run(graph.with_suffix(".runs")).folder)


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "recommend": lambda graph: model(graph).recommend(["u1"]),
    "explain": lambda graph: model(graph).explain("u1", "f1"),
    "evaluate": lambda graph: evaluate_run(str(graph)),
    "publish": lambda graph: publish_run(str(graph)),
    "rollback": lambda graph: roll_back(str(graph), the_run(graph).name),
    "show": show,
    "leakage": lambda graph: audit_leakage(str(graph)),
}


def edit(name: str, change: Callable[[Any], Any]) -> Change:
    """Change the content of a JSON file."""

    def changed(run: Path) -> None:
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return changed


def _blend(info: Any) -> Any:
    return info["blends"]["Item"]["default"]


def put(*path: Any, to: Any, file: str = "run.json") -> Change:
    """Set a value in a JSON file."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return edit(file, change)


def write(name: str, content: bytes) -> Change:
    """Replace a file."""

    def changed(run: Path) -> None:
        (run / name).write_bytes(content)

    return changed


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Change:
    """Change a table."""
    return lambda run: pq.write_table(change(pq.read_table(run / name)), run / name)


def column(name: str, key: str, values: Callable[[pa.ChunkedArray], Any]) -> Change:
    """Change a column of a table."""
    return table(name, lambda t: t.set_column(t.column_names.index(key), key, values(t.column(key))))


def arrays(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change named arrays."""

    def changed(run: Path) -> None:
        found = dict(load_file(run / name))
        change(found)
        save_file(found, run / name)

    return changed


def other(name: str, make: Callable[[Path], Any]) -> Change:
    """Put another thing in the place of a file."""

    def changed(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return changed


def header(content: dict[str, Any], data: bytes = b"") -> bytes:
    """Return a safetensors file of a given header."""
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_nan(array: Any) -> Any:
    """Return an array whose first number is NaN."""
    found = array.copy()
    found.flat[0] = np.nan
    return found


FEEDBACK = "arrays/feedback.safetensors"
EASE, NODES, EDGES = "arrays/signal-ease.safetensors", "tables/nodes-Item.parquet", "tables/edges-2.parquet"
LISTS, VECTORS = "tables/recommendations.parquet", "arrays/vectors.safetensors"
ATTACKS: dict[str, tuple[str, Change]] = {
    "json empty": ("run.json", write("run.json", b"")),
    "json cut": ("run.json", write("run.json", b'{"format": 5, "con')),
    "json no object": ("run.json", write("run.json", b"[]")),
    "json no text": ("run.json", write("run.json", b"\xff\xfe\x00")),
    "json deep": ("run.json", write("run.json", b"[" * 200_000 + b"]" * 200_000)),
    "json key twice": ("run.json", write("run.json", b'{"format": 5, "format": 5}')),
    "json surrogate": ("run.json", write("run.json", b'{"format": 5, "kgrec": "\\ud800"}')),
    "json huge number": ("run.json", write("run.json", b'{"format": ' + b"9" * 5000 + b"}")),
    "json a folder": ("run.json", other("run.json", Path.mkdir)),
    "json a pipe": ("run.json", other("run.json", os.mkfifo)),
    "json a link": ("run.json", other("run.json", lambda path: path.symlink_to("/etc/passwd"))),
    "format of a text": ("run.json", put("format", to="2")),
    "no schema": ("run.json", edit("run.json", lambda info: info.pop("schema"))),
    "schema invalid": ("run.json", put("schema", "roles", to={"users": "Nobody"})),
    "schema changed": ("run.json", put("schema", "nodes", "Genre", "embeddings", to=["{genre_id}!"])),
    "labels": ("run.json", put("labels", to=["User", "User"])),
    "label leads out": ("run.json", put("labels", 0, to="../../User")),
    "edge type unknown": ("run.json", put("edge_types", 0, to=["User", "OWNS", "Item"])),
    "signal unknown": ("run.json", edit("run.json", lambda info: info["settings"].update(magic={}))),
    "setting unknown": ("run.json", put("settings", "ease", "magic", to=1)),
    "setting infinite": ("run.json", put("settings", "ease", "dropout", to=float("inf"))),
    "setting huge": ("run.json", put("settings", "ease", "half_life_items", to=1e300)),
    "config unknown": ("run.json", put("config", "trust_remote_code", to=True)),
    "blend of a text": ("run.json", put("blends", "Item", "default", "weights", "zscore", 0, to="1")),
    "blend NaN": ("run.json", put("blends", "Item", "default", "weights", "zscore", 0, to=float("nan"))),
    "blend too long": (
        "run.json",
        edit("run.json", lambda info: _blend(info)["weights"]["zscore"].append(1)),
    ),
    "blend reordered": (
        "run.json",
        edit("run.json", lambda info: _blend(info)["signals"].reverse()),
    ),
    "blend scale 0": ("run.json", put("blends", "Item", "default", "activity", "deviation", to=0)),
    "blends of nobody": ("run.json", put("blends", to={})),
    "new item unknown": ("run.json", put("added_after_fit", to=["nothing"])),
    "alone unknown": ("run.json", put("single_domain", to={"Nowhere": ["ease"]})),
    "tuned wrong": ("run.json", put("tuned", to={"method": "lora"})),
    "second wrong": ("run.json", put("second", to={"weights": {"Item": 1}})),
    "seconds negative text": ("run.json", put("seconds", to={"fit": "long"})),
    "metrics wrong": ("run.json", put("metrics", "models", to=[])),
    "digest": ("run.json", put("digests", "train", to="0" * 64)),
    "choices a list": ("choices.json", write("choices.json", b"[]")),
    "choices without": ("choices.json", put("signals", to={}, file="choices.json")),
    "choices wrong": ("choices.json", put("signals", "ease", "tried", to=[1], file="choices.json")),
    "table empty": (NODES, write(NODES, b"")),
    "table cut": (NODES, lambda run: os.truncate(run / NODES, 200)),
    "table gone": (NODES, lambda run: (run / NODES).unlink()),
    "table a folder": (NODES, other(NODES, Path.mkdir)),
    "table a pipe": (NODES, other(NODES, os.mkfifo)),
    "table a link": (NODES, other(NODES, lambda path: path.symlink_to("nodes-User.parquet"))),
    "column gone": (NODES, table(NODES, lambda t: t.drop_columns(["title"]))),
    "column unknown": (NODES, table(NODES, lambda t: t.append_column("more", t.column("title")))),
    "column twice": (NODES, table(NODES, lambda t: t.append_column("title", t.column("title")))),
    "column of another type": (NODES, column(NODES, "title", lambda c: pa.array(range(len(c))))),
    "key null": (NODES, column(NODES, "item_id", lambda c: pc.if_else(pc.equal(c, c[0]), None, c))),
    "key empty": (NODES, column(NODES, "item_id", lambda c: pc.if_else(pc.equal(c, c[0]), "", c))),
    "key twice": (NODES, column(NODES, "item_id", lambda c: pc.if_else(pc.equal(c, c[0]), c[1], c))),
    "nodes reversed": ("run.json", table(NODES, lambda t: t.take(list(range(t.num_rows - 1, -1, -1))))),
    "end out of range": (EDGES, column(EDGES, "dst", lambda c: pc.add(c, 1000))),
    "end below 0": (EDGES, column(EDGES, "src", lambda c: pc.subtract(c, 1))),
    "end null": (EDGES, column(EDGES, "src", lambda c: pc.if_else(pc.equal(c, 0), None, c))),
    "weight NaN": (EDGES, column(EDGES, "rating", lambda c: pa.array([float("nan")] * len(c)))),
    "weight huge": (EDGES, column(EDGES, "rating", lambda c: pa.array([1e300] * len(c)))),
    "no behavior": ("run.json", table(EDGES, lambda t: t.slice(0, 0))),
    "arrays empty": (EASE, write(EASE, b"")),
    "arrays cut": (EASE, lambda run: os.truncate(run / EASE, 500)),
    "arrays a pipe": (EASE, other(EASE, os.mkfifo)),
    "arrays header bomb": (EASE, write(EASE, header({"x" * (9 << 20): {}}))),
    "arrays huge shape": (
        EASE,
        write(
            EASE, header({"weights": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, b"1234")
        ),
    ),
    "arrays no rows": (
        EASE,
        write(EASE, header({"weights": {"dtype": "F32", "shape": [0, 1 << 60], "data_offsets": [0, 0]}})),
    ),
    "array renamed": (EASE, arrays(EASE, lambda found: found.update(other=found.pop("correlations")))),
    "array more": (EASE, arrays(EASE, lambda found: found.update(other=found["correlations"]))),
    "array of another type": (
        EASE,
        arrays(EASE, lambda found: found.update(correlations=found["correlations"].astype("f8"))),
    ),
    "array of another shape": (
        EASE,
        arrays(EASE, lambda found: found.update(correlations=found["correlations"][1:].copy())),
    ),
    "array NaN": (EASE, arrays(EASE, lambda found: found.update(correlations=with_nan(found["correlations"])))),
    "array huge": (
        EASE,
        arrays(EASE, lambda found: found.update(correlations=found["correlations"] + np.float32(1e30))),
    ),
    "scale of zero": (EASE, arrays(EASE, lambda found: found.update(scale=0 * found["scale"]))),
    "scale tiny": (EASE, arrays(EASE, lambda found: found.update(scale=np.r_[np.float32(1e-40), found["scale"][1:]]))),
    "feedback missing": (FEEDBACK, lambda run: (run / FEEDBACK).unlink()),
    "feedback in disorder": (
        FEEDBACK,
        arrays(FEEDBACK, lambda found: found.update(weight=found["weight"][::-1].copy())),
    ),
    "feedback of a type cut": (FEEDBACK, arrays(FEEDBACK, lambda found: found.update(type=found["type"][1:].copy()))),
    "folder of arrays a link": ("arrays", lambda run: _linked(run / "arrays")),
}
OF_LISTS: dict[str, Change] = {
    "no rank": table(LISTS, lambda t: t.drop_columns(["rank"])),
    "rank 0": column(LISTS, "rank", lambda c: pc.subtract(c, 1)),
    "rank twice": column(LISTS, "rank", lambda c: pa.array([1] * len(c))),
    "item null": column(LISTS, "item_id", lambda c: pc.if_else(pc.equal(c, c[0]), None, c)),
    "item unknown": column(LISTS, "item_id", lambda c: pc.if_else(pc.equal(c, c[0]), "nothing", c)),
    "item twice": column(LISTS, "item_id", lambda c: pa.array([c[0].as_py()] * len(c), c.type)),
    "score NaN": column(LISTS, "score", lambda c: pa.array([float("nan")] * len(c), pa.float32())),
    "no rows": table(LISTS, lambda t: t.slice(0, 0)),
    "many rows": table(LISTS, lambda t: pa.concat_tables([t, t])),
}
OF_VECTORS: dict[str, Change] = {
    "rows": arrays(VECTORS, lambda found: found.update(Item=found["Item"][1:].copy())),
    "label": arrays(VECTORS, lambda found: found.update({"../x": found.pop("Item")})),
    "type": arrays(VECTORS, lambda found: found.update(Item=found["Item"].astype("f8"))),
    "NaN": arrays(VECTORS, lambda found: found.update(Item=with_nan(found["Item"]))),
    "lengths": arrays(VECTORS, lambda found: found.update(Item=found["Item"][:, 1:].copy())),
}


def _linked(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def _lists(n: int, user: pa.Array) -> pa.Table:
    """Return lists of n rows that take little space in a file."""
    numbers = {name: np.zeros(n, np.float32) for name in ("score", "graph", "cf", "content")}
    return pa.table({"user_id": user, "item_id": ["f1"] * n, "rank": np.ones(n, np.int64), **numbers})


def _repeated(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text]))


BOMBS = {
    "embeddings": lambda: _lists(100, _repeated("u" * (1 << 20), 100)),
    "rows": lambda: _lists(200_000, _repeated("u", 200_000)),
}


@pytest.fixture
def tampered(cinema: Path) -> Path:
    """A graph with one run that may be changed, and says nothing of checksums."""
    trusted(the_run(cinema))
    return cinema


@pytest.mark.parametrize("attack", ATTACKS)
def test_tampered_run_error_names_the_file(tampered: Path, attack: str) -> None:
    name, change = ATTACKS[attack]
    change(the_run(tampered))
    with pytest.raises(RunError) as error:
        model(tampered)
    assert str(the_run(tampered) / name) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_tampered_file(tampered: Path, command: str) -> None:
    run = the_run(tampered)
    file = run / {"publish": LISTS, "rollback": LISTS, "show": "choices.json"}.get(command, EASE)
    file.write_bytes(b"{}")
    with pytest.raises(RunError, match=str(file)):
        COMMANDS[command](tampered)
    (run / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        COMMANDS[command](tampered)


@pytest.mark.parametrize("attack", OF_LISTS)
def test_tampered_lists_are_not_published(tampered: Path, attack: str) -> None:
    OF_LISTS[attack](the_run(tampered))
    with pytest.raises(RunError, match=LISTS):
        publish_run(str(tampered))


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_table_that_fills_memory_is_an_error(tampered: Path, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.runs.untrusted_files.ALWAYS_ALLOWED_BYTES", 5 << 20)
    pq.write_table(BOMBS[bomb](), the_run(tampered) / LISTS)
    with pytest.raises(RunError, match=f"{LISTS} is damaged .*bytes in memory; expected at most 5,242,880 for"):
        publish_run(str(tampered))


@pytest.mark.parametrize("attack", OF_VECTORS)
def test_tampered_vectors_are_not_published(tampered: Path, attack: str) -> None:
    OF_VECTORS[attack](the_run(tampered))
    with pytest.raises(RunError, match=VECTORS):
        publish_run(str(tampered))


def test_forget_in_tampered_run_fails(tampered: Path) -> None:
    column(NODES, "item_id", lambda c: pa.array(range(len(c))))(the_run(tampered))
    with pytest.raises(RunError, match=NODES):
        forget(str(tampered), "item", "f1")


def test_list_shows_unreadable_runs(kgrec: Any, tampered: Path) -> None:
    (the_run(tampered) / "run.json").write_text("{}")
    assert list(unreadable_runs(the_run(tampered).parent)) == [the_run(tampered).name]
    shown = kgrec("runs", "list", tampered)
    assert (shown.code, shown.out) == (1, "")
    assert f"run.json is damaged (format: found None; expected {FORMAT})" in shown.err


def test_unreadable_newest_run_is_not_skipped(tampered: Path) -> None:
    run = the_run(tampered)
    shutil.copytree(run, run.with_name("20200101-000000-abcd"))
    (run / "run.json").unlink()
    with pytest.raises(RunError, match=r"It may be the newest run\. Name another run, or remove"):
        find_run(run.parent)
    (run.with_name("20200101-000000-abcd") / "run.json").rename(run / "run.json")
    assert find_run(run.parent).name == run.name


def test_run_in_the_working_folder_is_not_used(tampered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = the_run(tampered)
    elsewhere = tampered.with_name("elsewhere")
    shutil.copytree(run, elsewhere / run.name)
    monkeypatch.chdir(elsewhere)
    assert find_run(run.parent, run.name).folder == run
    assert find_run(run.parent, f"./{run.name}").folder.absolute() == elsewhere / run.name


@pytest.mark.parametrize(
    "line", ['{"run": "../../run", "at": "2026", "action": "publish"}', "[]", '{"run": 3}', "[" * 99999]
)
def test_published_run_name_with_path_is_an_error(tampered: Path, line: str) -> None:
    (the_run(tampered).parent / HISTORY_FILE).write_text(f"{line}\n")
    for command in (lambda: publications(the_run(tampered).parent), lambda: publish_run(str(tampered))):
        with pytest.raises(RunError, match=f"{HISTORY_FILE} cannot be read"):
            command()


def test_signal_declares_its_arrays() -> None:
    kinds = signal_kinds(SIGNALS.shipped)
    assert [kind.name for kind in kinds if kind.layouts is Signal.layouts] == []


class Whole(NamedTuple):
    """A run that may be changed and put right again."""

    folder: Path
    files: dict[str, bytes]
    said: str

    def __repr__(self) -> str:
        return "the whole run"


@pytest.fixture(scope="module")
def whole(communities: GraphSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run of every signal that the data allow."""
    train = communities
    vectors = text_vectors(train, default_encoder(), VectorCache())
    kinds = [kind for kind in signal_kinds(SIGNALS.shipped) if kind.applies(train, vectors)]
    assert len(kinds) > 8
    signals = {kind.name: kind().fit(train, vectors) for kind in kinds}
    blends = {domain: even_blend(list(signals)) for domain in set(train.item_domains)}
    found = {
        name: {"settings": x.settings.model_dump(), "metric_value": 0.1, "tried": []} for name, x in signals.items()
    }
    choices = {"signals": found, "cold_start": {}, "blends": {}, "domains": {}}
    fitted = Trained(HybridModel(train, signals, blends), vectors, choices, {"fit": 1.0})
    run = save_model(tmp_path_factory.mktemp("whole") / "run", fitted, Config())
    trusted(run.folder)
    files = {str(f.relative_to(run.folder)): f.read_bytes() for f in run.folder.rglob("*") if f.is_file()}
    return Whole(run.folder, files, _said(run.folder))


def _said(folder: Path) -> str:
    run, loaded = read_run(folder), Recommender.load(folder)
    vectors_of(run), run_facts(run), tried_table(run.choices), list(figures(run))
    listed = loaded.recommend(list(loaded._model.train.users.ids[:2]), k=3)
    assert np.isfinite(listed[["score", "graph", "cf", "content"]].to_numpy()).all()
    loaded.explain(loaded._model.train.users.ids[0], loaded._model.train.items.ids[0])
    return str(listed.to_csv())


JUNK: list[Any] = [
    None,
    True,
    -1,
    0,
    2.5,
    float("nan"),
    1e300,
    10**30,
    "",
    "../x",
    "[red]",
    "\u202e",
    [],
    {},
    [[]],
    {"a": 1},
]


def _mutate(folder: Path, name: str, rng: random.Random) -> None:
    """Change something in a file."""
    if rng.random() < 0.2:
        content = bytearray((folder / name).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
    elif name.endswith(".json"):
        edit(name, lambda content: _mutate_value(content, rng))(folder)
    elif name.endswith(".parquet"):
        table(name, lambda found: _mutate_table(found, rng))(folder)
    else:
        arrays(name, lambda found: _mutate_arrays(found, rng))(folder)


def _mutate_value(value: Any, rng: random.Random) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
        return _mutate_value(value[key], rng)
    if rng.random() < 0.3:
        del value[key]
    else:
        value[key] = rng.choice(JUNK)


def _dictionary(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values as a dictionary; lists, which Arrow cannot encode, stay as they are."""
    return values if pa.types.is_list(values.type) else values.dictionary_encode()


def _mutate_table(found: pa.Table, rng: random.Random) -> pa.Table:
    name = rng.choice(found.column_names)
    at, values = found.column_names.index(name), found.column(name)
    return rng.choice(
        [
            lambda: found.drop_columns([name]),
            lambda: found.slice(0, found.num_rows // 2),
            lambda: pa.concat_tables([found, found.slice(0, 1)]),
            lambda: found.append_column(rng.choice(["zz", name]), values),
            lambda: found.set_column(at, name, pa.nulls(found.num_rows, values.type)),
            lambda: found.set_column(at, name, _dictionary(values)),
            lambda: found.set_column(at, name, values.take(list(range(found.num_rows - 1, -1, -1)))),
        ]
    )()


def _mutate_arrays(found: dict[str, Any], rng: random.Random) -> None:
    name = rng.choice(sorted(found))
    array = found.pop(name)
    bad = array.copy()
    bad.flat[: rng.randint(0, 3)] = (
        rng.choice([0, 200]) if array.dtype.kind in "iu" else rng.choice([-1.0, np.nan, np.inf, 1e30])
    )
    changed = [{}, {"zz": array}, {name: array[1:].copy()}, {name: array[None].copy()}, {name: bad}]
    found.update(
        rng.choice([*changed, {name: array.astype("f8")}, {name: np.zeros((0, *array.shape[1:]), array.dtype)}])
    )


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(seed=st.integers(0, 2**32))
def test_randomly_changed_run_fails_cleanly_or_works(whole: Whole, seed: int) -> None:
    rng = random.Random(seed)
    name, error = rng.choice([*whole.files, *["run.json"] * 4, *["choices.json"] * 2]), ""
    _mutate(whole.folder, name, rng)
    try:
        _said(whole.folder)
    except RunError as found:
        error = str(found)
    finally:
        (whole.folder / name).write_bytes(whole.files[name])
    assert not error or (str(whole.folder) in error and "\n" not in error)


def test_unchanged_run_gives_the_same_output(whole: Whole) -> None:
    assert _said(whole.folder) == whole.said
