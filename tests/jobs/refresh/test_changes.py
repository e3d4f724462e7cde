"""New and changed rows of a source: tables, ids with another label, files that still grow."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import CINEMA

from kgrec.data.loader import find_loader
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError
from kgrec.jobs.refresh import changes
from kgrec.jobs.refresh.changes import ingest_delta, record_sizes, sizes_of
from kgrec.store import open_graph

pytestmark = pytest.mark.slow

SCHEMA = Schema.from_dict(
    {
        "name": "media",
        "nodes": {"User": {"key": "user_id"}, "Book": {"key": "book_id"}, "Film": {"key": "film_id"}},
        "relationships": {"LIKED": {"from": "User", "to": ["Book", "Film"]}},
        "roles": {"users": "User", "items": ["Book", "Film"], "behaviours": {"LIKED": {}}},
    }
)

TIMED = {"LIKED": {"from": "User", "to": ["Book", "Film"], "properties": {"at": "float"}}}
TIMED_ROLES = {"users": "User", "items": ["Book", "Film"], "behaviours": {"LIKED": {"time": "at"}}}


def media(books: list[str], films: list[str]) -> GraphTables:
    nodes = {"User": ["u"], "Book": books, "Film": films}
    liked = {("User", "LIKED", label): nodes[label] for label in ("Book", "Film")}
    return GraphTables(
        SCHEMA,
        {label: pa.table({SCHEMA.nodes[label].key: pa.array(ids, pa.string())}) for label, ids in nodes.items()},
        {t: pa.table({"src": pa.array(["u"] * len(ids)), "dst": pa.array(ids)}) for t, ids in liked.items() if ids},
    )


def test_ingest_delta_of_tables_has_new_rows_only(tmp_path: Path) -> None:
    with open_graph(tmp_path / "media.lbug", create=True) as store:
        store.write(media(["a"], ["b"]))
        assert ingest_delta(store, "atomic", media(["a"], ["b"])).is_empty
        assert ingest_delta(store, "atomic", media(["a", "c"], ["b"])).new == {"Book": 1, "LIKED": 1}


def test_ingest_id_with_another_label_fails(tmp_path: Path) -> None:
    with open_graph(tmp_path / "media.lbug", create=True) as store:
        store.write(media(["a"], ["b"]))
        with pytest.raises(DataError, match="found 'a' as Film, in the graph a Book; expected the same label"):
            ingest_delta(store, "atomic", media([], ["a", "b"]))


@pytest.fixture
def cinema_source(tmp_path: Path) -> Path:
    return shutil.copytree(CINEMA, tmp_path / "source", copy_function=shutil.copyfile)


def test_ingest_file_that_changes_while_read_fails(cinema_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behaviors, atomic = cinema_source / "cinema.inter", find_loader("atomic")

    class Slow:
        """Reads, while another process appends."""

        def load(self, source: object, schema: Schema | None) -> GraphTables:
            tables = atomic.load(source, schema)
            behaviors.write_text(behaviors.read_text() + "u1\tf1")
            return tables

    monkeypatch.setattr(changes, "find_loader", lambda name: Slow())
    with pytest.raises(DataError, match=r"cinema\.inter: found a file that changed while it was read"):
        ingest_delta(None, "atomic", cinema_source)


def test_ingest_reports_all_faults(tmp_path: Path) -> None:
    """A time to come, an end that is nowhere, an id of another label, a cut-off source: one message."""
    schema = Schema.from_dict({**SCHEMA.to_dict(), "relationships": TIMED, "roles": TIMED_ROLES})
    at = pa.array([1_700_000_000.0, 1_924_992_000.0, 1_700_000_001.0])
    seen = pa.table({"src": ["u", "u", "u"], "dst": ["a", "a", "nowhere"], "at": at})
    nodes = {"User": pa.table({"user_id": ["u"]}), "Book": pa.table({"book_id": ["a", "b"]})}
    with open_graph(tmp_path / "media.lbug", create=True) as store:
        store.write(GraphTables(schema, nodes, {("User", "LIKED", "Book"): seen.slice(0, 1)}))
        night = GraphTables(schema, {"Film": pa.table({"film_id": ["a"]})}, {("User", "LIKED", "Book"): seen})
        with pytest.raises(DataError) as caught:
            ingest_delta(store, "atomic", night, previous={"LIKED": 30, "Book": 40})
    told = str(caught.value)
    assert "4 problems" in told
    assert "found 3 rows of LIKED, 30 at the last ingest" in told
    assert "found a time in the future, 2031-01-01 00:00; expected a time up to now; check the clock" in told
    assert "found 'nowhere'; expected the key of a Book" in told
    assert "found 'a' as Film, in the graph a Book; expected the same label, or another id" in told


def test_record_sizes_by_graph_and_label(tmp_path: Path) -> None:
    record_sizes(tmp_path, "shop.lbug", {"User": 5, "LIKED": 9})
    record_sizes(tmp_path, str(tmp_path / "shop.lbug"), {"LIKED": 7})
    record_sizes(tmp_path, "neo4j://host/films", {"LIKED": 1})
    assert sizes_of(tmp_path, "elsewhere/shop.lbug") == {"User": 5, "LIKED": 7}
    assert sizes_of(tmp_path, "neo4j://host/films") == {"LIKED": 1}
