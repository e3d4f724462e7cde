from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError, StoreLocked
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.testing.store_contract import contract_tables, digest, recommendations

pytestmark = pytest.mark.slow

pytest.importorskip("pyoxigraph")
RUNS = """
SELECT (COUNT(?r) AS ?n) ?run {
  GRAPH kgrec:recommendations { ?r kgrec:rank ?k } GRAPH kgrec:recommendations { ?g kgrec:published ?run }
} GROUP BY ?run"""


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A graph that holds the small graph."""
    with open_graph(f"oxigraph:{tmp_path / 'graph'}", create=True) as store:
        store.write(contract_tables())
    return f"oxigraph:{tmp_path / 'graph'}"


def many(n: int) -> GraphTables:
    """The small graph with n behaviors more."""
    tables = contract_tables()
    edge_type = ("User", "MATCH", "Item")
    times = [float(10 + i) for i in range(n)]
    more = pa.table({"src": ["a"] * n, "dst": ["i1"] * n, "weight": times, "timestamp": times})
    both = pa.concat_tables([tables.edges[edge_type], more], promote_options="default")
    return GraphTables(tables.schema, tables.nodes, {**tables.edges, edge_type: both})


def behaviors(store: GraphStore) -> int:
    return len(store.snapshot().behaviors)


def python(code: str, uri: str) -> subprocess.Popen[str]:
    imports = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    head = f"{imports}\nfrom test_versions import *\nuri = {uri!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_second_writer_is_refused_and_reader_is_not(uri: str) -> None:
    with open_graph(uri, create=True) as writer:
        with pytest.raises(StoreLocked, match="is open for writing in this process"):
            open_graph(uri, create=True)
        with open_graph(uri, read_only=True) as reader:
            writer.write(many(100))
            assert behaviors(reader) == 105
            with pytest.raises(StoreError, match="open read-only"):
                reader.write(contract_tables())
    open_graph(uri, create=True).close()


def test_unused_new_folder_is_removed(tmp_path: Path) -> None:
    with open_graph(f"oxigraph:{tmp_path / 'new'}", create=True) as store:
        assert store.schema is None
    assert not (tmp_path / "new").exists()


def test_closed_store_says_so(uri: str) -> None:
    store = open_graph(uri, create=True)
    store.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        assert store.schema is None


def test_open_foreign_path_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is not a graph: it holds notes\.txt"):
        open_graph(f"oxigraph:{tmp_path}", create=True)
    with pytest.raises(StoreError, match=r"is not a graph: it is a file"):
        open_graph(f"oxigraph:{tmp_path / 'notes.txt'}", create=True)
    with pytest.raises(StoreError, match=r"no graph at .*Run: kgrec load"):
        open_graph(f"oxigraph:{tmp_path / 'none'}", read_only=True)
    assert not (tmp_path / "none").exists()


def test_damaged_files_are_reported(uri: str) -> None:
    folder = Path(uri.removeprefix("oxigraph:"))
    for file in next(folder.glob("graph-*")).iterdir():
        file.write_bytes(b"junk")
    with open_graph(uri, read_only=True) as store, pytest.raises(StoreError, match="cannot open"):
        assert store.schema is None


def test_readers_see_publish_atomically(uri: str) -> None:
    code = """
        with open_graph(uri, create=True) as store:
            for run in range(6):
                store.publish(recommendations(["a"] * 2000, ["i1"] * 2000), str(run))
    """
    with open_graph(uri, create=True) as store:
        store.publish(recommendations(["a"] * 2000, ["i1"] * 2000), "first")
    with python(code, uri) as writer:
        seen: list[tuple[str, int]] = []

        def read() -> None:
            with open_graph(uri, read_only=True) as reader:
                while writer.poll() is None:
                    frame = reader.sparql(RUNS)
                    seen.extend(zip(frame["run"].astype(str), frame["n"], strict=True))
                    assert behaviors(reader) == 5

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.communicate()[1] == ""
    with open_graph(uri, read_only=True) as reader:
        assert reader.published() == "5"
    assert {n for _, n in seen} == {2000}
    assert len({run for run, _ in seen}) > 1


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.2])
def test_killed_write_is_atomic(uri: str, delay: float) -> None:
    code = """
        tables = many(20_000)
        with open_graph(uri, create=True) as store:
            print("go", flush=True)
            store.write(tables)
            for run in range(50):
                store.publish(recommendations(["a"] * 5000, ["i1"] * 5000), str(run))
    """
    with python(code, uri) as writer:
        assert line(writer) == "go\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    with open_graph(uri, read_only=True) as reader:
        n = behaviors(reader)
        frame = reader.sparql(RUNS)
        assert frame["n"].tolist() in ([], [5000])
    assert n in (5, 20_005)
    with open_graph(uri, create=True) as store:
        store.write(many(20_000))
        assert store.snapshot().digest == digest(many(20_000))
    folder = Path(uri.removeprefix("oxigraph:"))
    assert len(list(folder.glob("graph-*"))) == 2


def test_full_disk_keeps_the_old_graph(uri: str) -> None:
    code = """
        import resource
        tables = many(30_000)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open_graph(uri, create=True) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            try:
                store.write(tables)
            except StoreError as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            print(store.snapshot().digest == digest(contract_tables()))
    """
    with python(code, uri) as writer:
        out, errors = writer.communicate()
    assert "cannot write" in out, errors
    assert out.endswith("True\n")
    with open_graph(uri, create=True) as store:
        store.write(many(10))
        assert behaviors(store) == 15


def test_many_changed_rows_are_replaced(uri: str) -> None:
    tables = many(5000)
    edge_type = ("User", "MATCH", "Item")
    changed = tables.edges[edge_type].set_column(2, "weight", pa.array([7.5] * tables.edges[edge_type].num_rows))
    new = GraphTables(tables.schema, tables.nodes, {**tables.edges, edge_type: changed})
    with open_graph(uri, create=True) as store:
        store.write(tables)
        store.write(new)
        assert store.snapshot().digest == digest(new)
    assert os.path.exists(uri.removeprefix("oxigraph:"))
