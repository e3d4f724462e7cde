"""The search for what is left of an id: in the bytes of files, in the values of tables, in the keys of a graph."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.snapshot import GraphSnapshot

TELLING: Final = 8
"""Bytes from which on an id is in no file by chance: in a terabyte of random bytes once in 10 million searches."""


@dataclass
class Search:
    """What was looked at, and what was found.

    Attributes:
        id_: what is looked for.
        tells: whether its bytes can only be its own: it is long enough, and no other id holds it.
        files, bytes, values: how much was looked at.
        found: places that hold it.
        unclear: places that hold its bytes, which may be those of something else.
    """

    id_: str
    tells: bool
    files: int = 0
    bytes: int = 0
    values: int = 0
    found: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, id_: str, others: Iterable[pa.Array]) -> Search:
        """Begin a search for an id, beside which there are others."""
        held = any(pc.any(pc.match_substring(ids, id_)).as_py() for ids in others)
        return cls(id_, len(id_.encode()) >= TELLING and not held)

    def in_files(self, places: Iterable[Path]) -> None:
        """Look at every byte of every file, and at every text in Parquet files, which are compressed."""
        for file in _files(places):
            self.files += 1
            self.bytes += file.stat().st_size
            if _holds(file, self.id_.encode()) or (file.suffix == ".parquet" and self._in_table(file)):
                (self.found if self.tells else self.unclear).append(str(file))

    def in_keys(self, where: str, keys: pa.Array | pa.ChunkedArray) -> None:
        """Look at keys or ids, where whatever is equal is what is looked for."""
        self.values += len(keys)
        if pc.any(pc.equal(keys, self.id_)).as_py():
            self.found.append(where)

    def in_graph(self, where: str, graph: GraphSnapshot, labels: Iterable[str]) -> None:
        """Look at the keys of labels, and at the texts among all properties of a graph."""
        for label in graph.present(labels):
            self.in_keys(f"{where}: keys of {label}", graph.ids(label))
        for name, table in {**graph.nodes, **{t[1]: edges.table for t, edges in graph.edges.items()}}.items():
            if self._in_texts(table):
                (self.found if self.tells else self.unclear).append(f"{where}: {name}")

    def _in_table(self, file: Path) -> bool:
        return self._in_texts(pq.read_table(file))

    def _in_texts(self, table: pa.Table) -> bool:
        texts = list(_texts(table))
        self.values += sum(map(len, texts))
        return any(pc.any(pc.match_substring(text, self.id_)).as_py() for text in texts)

    def report(self) -> dict[str, Any]:
        """Return what was looked at and found, for a receipt."""
        names = ("files", "bytes", "values", "found", "unclear")
        return {name: getattr(self, name) for name in names}


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())


def _holds(file: Path, wanted: bytes) -> bool:
    if not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(wanted) >= 0


def _texts(table: pa.Table) -> Iterator[pa.Array]:
    """Yield the texts of a table, those in lists too."""
    for column in table.columns:
        flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
            yield flat
