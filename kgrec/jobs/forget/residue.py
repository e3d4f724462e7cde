"""Residue search: occurrences of an id in the bytes of files, the values of tables and the keys of a graph."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.data.snapshot import GraphSnapshot

MIN_UNIQUE_BYTES: Final = 8
"""Minimum length of an id that does not occur by chance: at 8 bytes, 1 in 10 million searches of a random terabyte."""

_PACKED: Final = {".7z", ".bz2", ".gz", ".lz4", ".tgz", ".xz", ".zip", ".zst"}
"""Suffixes of compressed files, whose bytes do not show their content."""


@dataclass
class Search:
    """A search for an id, with its results.

    Attributes:
        id_: the id.
        is_unique: whether its bytes identify it: it is long enough, and no other id contains it.
        files, bytes, values: amount searched.
        found: places with the id.
        ambiguous: places with its bytes, which may belong to other data.
        unread: places that could not be searched, such as links, with the reason.
    """

    id_: str
    is_unique: bool
    files: int = 0
    bytes: int = 0
    values: int = 0
    found: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @classmethod
    def for_id(cls, id_: str, others: Iterable[pa.Array]) -> Search:
        """Return a new search for an id; `others` are the remaining ids, string arrays."""
        held = any(pc.any(pc.match_substring(ids, id_)).as_py() for ids in others)
        return cls(id_, len(id_.encode()) >= MIN_UNIQUE_BYTES and not held)

    def in_files(self, places: Iterable[Path]) -> None:
        """Search every byte of every file, and the texts of Parquet files, which are compressed."""
        forms = _forms(self.id_)
        for file in self._files(places):
            try:
                n_bytes, is_there = file.stat().st_size, _holds(file, forms)
                is_there = is_there or (file.suffix == ".parquet" and self._in_table(file))
            except (OSError, pa.ArrowException) as error:
                self.unread.append(f"{file} (cannot be read: {error})")
                continue
            self.files += 1
            self.bytes += n_bytes
            if is_there:
                (self.found if self.is_unique else self.ambiguous).append(str(file))
            elif file.suffix in _PACKED:
                self.unread.append(f"{file} (compressed)")

    def _files(self, places: Iterable[Path]) -> Iterator[Path]:
        """Yield every regular file; other entries, and folders that cannot be listed, are added to `unread`."""
        for place in places:
            if place.is_file():
                yield place
                continue
            for folder, folders, names in os.walk(place, onerror=self._note_unlisted):
                folders.sort()
                for path in (Path(folder) / name for name in sorted((*folders, *names))):
                    if path.is_symlink():
                        self.unread.append(f"{path} (a link to {os.readlink(path)})")
                    elif path.is_file():
                        yield path
                    elif not path.is_dir():
                        self.unread.append(f"{path} (neither a file nor a folder)")

    def _note_unlisted(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self.unread.append(f"{error.filename} (cannot be listed: {error.strerror})")

    def in_keys(self, where: str, keys: pa.Array | pa.ChunkedArray) -> None:
        """Search keys or ids, where an equal value is the id itself."""
        self.values += len(keys)
        if pc.any(pc.equal(keys, self.id_)).as_py():
            self.found.append(where)

    def in_graph(self, where: str, graph: GraphSnapshot, labels: Iterable[str]) -> None:
        """Search the keys of labels, and the text properties of a graph."""
        for label in graph.present(labels):
            self.in_keys(f"{where}: keys of {label}", graph.ids(label))
        for name, table in {**graph.nodes, **{t[1]: edges.table for t, edges in graph.edges.items()}}.items():
            if self._in_texts(table):
                (self.found if self.is_unique else self.ambiguous).append(f"{where}: {name}")

    def _in_table(self, file: Path) -> bool:
        return self._in_texts(pq.read_table(file))

    def _in_texts(self, table: pa.Table) -> bool:
        texts = list(_texts(table))
        self.values += sum(map(len, texts))
        return any(pc.any(pc.match_substring(text, self.id_)).as_py() for text in texts)

    def report(self) -> dict[str, Any]:
        """Return amounts and results of the search, for a receipt."""
        names = ("files", "bytes", "values", "found", "ambiguous", "unread")
        return {name: getattr(self, name) for name in names}


def _forms(id_: str) -> set[bytes]:
    """Return the encodings of an id: plain, in JSON, in an IRI."""
    texts = (id_, json.dumps(id_)[1:-1], json.dumps(id_, ensure_ascii=False)[1:-1], quote(id_, safe=""), quote(id_))
    return {text.encode() for text in texts}


def _holds(file: Path, forms: Iterable[bytes]) -> bool:
    if not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(form) >= 0 for form in forms)


def _texts(table: pa.Table) -> Iterator[pa.Array]:
    """Yield the string arrays of a table, including those in lists and structs."""
    for column in table.columns:
        yield from _texts_of(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def _texts_of(values: pa.Array) -> Iterator[pa.Array]:
    kind = values.type
    if isinstance(values, pa.ChunkedArray):
        for chunk in values.chunks:
            yield from _texts_of(chunk)
    elif pa.types.is_dictionary(kind):
        yield from _texts_of(values.dictionary)
    elif pa.types.is_struct(kind):
        for part in values.flatten():
            yield from _texts_of(part)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _texts_of(values.flatten())
    elif pa.types.is_map(kind):
        yield from _texts_of(values.keys)
        yield from _texts_of(values.items)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield values
    elif pa.types.is_string_view(kind):
        yield values.cast(pa.large_string())
