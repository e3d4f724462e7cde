"""Contract tests of loaders. The test of a loader is a subclass that names it and contains a small source:

class TestMyLoader(LoaderContract):
    loader = MyLoader
    files = {"plays.txt": "ann: song1, song2\nben: song1\n"}
    broken = {"plays.txt": "ann: song1\n: song2\nben\n"}
    problems = {"plays.txt:2", "plays.txt:3"}
"""

# ruff: noqa: D102  (the names of tests describe them)
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from kgrec.data.loader import Loader
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, KgrecError, StoreError
from kgrec.store import open_graph
from kgrec.store.load import load


class LoaderContract:
    """Tests of the Loader port.

    Attributes:
        loader: the class of the loader.
        files: name → content of the files of a valid source.
        broken: name → content of files with problems, which replace or extend `files`.
        problems: "FILE:ROW" of each problem in `broken`, two or more.
        start: name of the file to pass to the loader; empty: the folder of the source.
        schema: the schema, if the loader cannot derive one.
    """

    loader: ClassVar[type[Loader]]
    files: ClassVar[Mapping[str, str]]
    broken: ClassVar[Mapping[str, str]]
    problems: ClassVar[frozenset[str] | set[str]]
    start: ClassVar[str] = ""
    schema: ClassVar[Schema | str | None] = None

    @pytest.fixture
    def source(self, tmp_path: Path) -> str:
        """The valid source."""
        return self.written(tmp_path / "source", self.files)

    def written(self, folder: Path, files: Mapping[str, str]) -> str:
        """Write files into a folder, and return the path to pass to the loader."""
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return str(folder / self.start)

    def load(self, source: str) -> GraphTables:
        """Return the checked tables of a source."""
        return load(self.loader, source, schema=self.schema)

    def test_source_holds_interactions(self, source: str) -> None:
        assert len(GraphSnapshot.from_tables(self.load(source)).behaviors)

    def test_load_twice_gives_equal_tables(self, source: str) -> None:
        first, again = (GraphSnapshot.from_tables(self.load(source)) for _ in range(2))
        assert first.digest == again.digest

    def test_graph_round_trip_is_equal(self, source: str, tmp_path: Path) -> None:
        loaded = GraphSnapshot.from_tables(self.load(source)).digest
        with open_graph(tmp_path / "graph.lbug", create=True) as store:
            for _ in range(2):
                load(self.loader, source, into=store, schema=self.schema)
                assert store.snapshot().digest == loaded

    def test_rows_have_their_origin(self, source: str) -> None:
        tables = self.loader().load(source, _schema(self.schema))
        for key, origins in tables.origins.items():
            table = tables.nodes[key] if isinstance(key, str) else tables.edges[key]
            assert sum(origin.n_rows for origin in origins) == table.num_rows
            assert all(Path(origin.where).name in self.files for origin in origins)

    def test_all_problems_are_reported_with_their_rows(self, tmp_path: Path) -> None:
        source = self.written(tmp_path / "broken", {**self.files, **self.broken})
        with open_graph(tmp_path / "graph.lbug", create=True) as store:
            with pytest.raises(DataError) as error:
                load(self.loader, source, into=store, schema=self.schema)
            with pytest.raises(StoreError, match="is empty"):
                store.snapshot()
        places = {f"{Path(problem.where).name}:{problem.row}" for problem in error.value.problems}
        assert places == set(self.problems)

    def test_missing_source_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(KgrecError, match="nowhere"):
            self.load(str(tmp_path / "nowhere" / self.start))

    def test_object_and_class_load_equal_tables(self, source: str) -> None:
        of_object = load(self.loader(), source, schema=self.schema)
        assert GraphSnapshot.from_tables(of_object).digest == GraphSnapshot.from_tables(self.load(source)).digest


def _schema(schema: Schema | str | None) -> Schema | None:
    return Schema.load(schema) if isinstance(schema, str) else schema
