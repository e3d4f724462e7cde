"""Reader of RDF files as columns of triples, in chunks: N-Triples directly, other formats through pyoxigraph."""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import IntArray
from kgrec.errors import DataError, Problem, UsageError
from kgrec.rdf.triples import Triples, oxigraph, parse
from loaders.bounded_reader import MAX_LINE, BoundedReader

if TYPE_CHECKING:
    import pyoxigraph

FORMATS: Final = {".nt": "N_TRIPLES", ".ttl": "TURTLE", ".jsonld": "JSON_LD", ".nq": "N_QUADS"}
_NAMES: Final = {
    "N_TRIPLES": "N-Triples",
    "TURTLE": "Turtle",
    "JSON_LD": "JSON-LD with its contexts in the file",
    "N_QUADS": "N-Quads",
}
PIECE: Final = 16 << 20
"""Bytes of N-Triples per chunk."""

BATCH: Final = 200_000
"""Triples of other formats per chunk."""

_IRI: Final = r"<[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|^`\\]*>"
_BLANK: Final = r"_:[A-Za-z0-9_]+"
_LITERAL: Final = rf'"(?:[^"\\\n\r]|\\[tbnrf"\'\\])*"(?:\^\^{_IRI}|@[A-Za-z]+(?:-[A-Za-z0-9]+)*)?'
_LINE: Final = rf"^(?:{_IRI}|{_BLANK}) {_IRI} (?:{_IRI}|{_BLANK}|{_LITERAL}) \.\n$"
"""Pattern of a line in canonical N-Triples, which needs no parser; other lines are parsed."""

Piece = tuple[bytes | pa.Buffer, IntArray]
"""N-Triples text, and the line number in the file of each of its lines; -1 if unknown."""


def read_files(sources: Sequence[str | Path]) -> Triples:
    """Return the triples of files, and of the files in folders.

    Raises:
        UsageError: a file does not exist, or its format is unknown.
        DataError: lists every file with a syntax error, with line and column.
        MissingExtra: pyoxigraph is not installed.
    """
    oxigraph()
    pieces: list[Piece] = []
    where: list[tuple[str, int]] = []
    problems: list[Problem] = []
    for path in itertools.chain.from_iterable(_files(Path(source)) for source in sources):
        try:
            new_pieces = list(_pieces(path))
        except (SyntaxError, UnicodeDecodeError, EOFError, OSError, zlib.error, MemoryError) as error:
            problems.append(_problem(path, error))
            continue
        except DataError as error:
            problems += error.problems
            continue
        pieces += new_pieces
        where.append((str(path), sum(len(lines) for _, lines in new_pieces)))
    if problems:
        raise DataError(problems)
    lines = np.concatenate([np.empty(0, np.int64), *(lines for _, lines in pieces)])
    return replace(parse([text for text, _ in pieces]), where=tuple(where), lines=lines)


def _files(source: Path) -> list[Path]:
    known = ", ".join([*FORMATS, *(f"{ending}.gz" for ending in FORMATS)])
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if _format(path))
        if not files:
            raise UsageError(f"{source} holds no RDF file; expected files ending in one of {known}")
        return files
    if not source.is_file():
        raise UsageError(f"no RDF file at {source}")
    if not _format(source):
        raise UsageError(f"{source} has an unknown ending; expected one of {known}")
    return [source]


def _format(path: Path) -> str | None:
    return FORMATS.get(Path(path.name.removesuffix(".gz")).suffix)


def _pieces(path: Path) -> Iterator[Piece]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        reader = BoundedReader(cast("IO[bytes]", file), path, _format(path) == "JSON_LD")
        if _format(path) != "N_TRIPLES":
            yield from _parsed(reader, path)
            return
        texts = list(iter(lambda: reader.whole_lines(PIECE), b""))
    with ThreadPoolExecutor() as pool:
        first = 1
        for text, plain in zip(texts, pool.map(_is_plain, texts), strict=True):
            n = text.count(b"\n")
            if plain is None:
                raise DataError(list(_no_text(path, text, first)))
            if plain:
                yield text, np.arange(first, first + n)
            else:
                yield from _plain_lines(path, text, first)
            first += n


def _is_plain(text: bytes) -> bool | None:
    """Return whether every line is canonical N-Triples; None if some are not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return None
    return bool(pc.all(pc.match_substring_regex(_lines(text), _LINE)).as_py())


def _no_text(path: Path, text: bytes, first: int) -> Iterator[Problem]:
    for number, line in enumerate(text.split(b"\n"), first):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line, which is not UTF-8"
            yield Problem(str(path), found, "UTF-8 text", number)


def _lines(text: bytes) -> pa.Array:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10)
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    return pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))


def _plain_lines(path: Path, text: bytes, first: int) -> Iterator[Piece]:
    """Yield canonical lines unchanged and the others parsed, without comments and empty lines."""
    lines = _lines(text)
    plain = np.asarray(pc.match_substring_regex(lines, _LINE))
    empty = np.asarray(pc.match_substring_regex(lines, r"^[ \t\r]*(#.*)?\n$"))
    numbers = np.arange(first, first + len(lines))
    if plain.any():
        yield "".join(lines.filter(pa.array(plain)).to_pylist()).encode(), numbers[plain]
    odd = np.flatnonzero(~plain & ~empty)
    texts = lines.take(pa.array(odd)).to_pylist()
    try:
        parsed = [text for text, _ in _parsed("".join(texts).encode(), Path("x.nt"))]
    except SyntaxError:
        raise DataError(list(_broken(path, texts, numbers[odd].tolist()))) from None
    if texts:
        together = b"".join(map(bytes, parsed))
        n = together.count(b"\n")
        yield together, numbers[odd] if n == len(odd) else np.full(n, -1)


def _broken(path: Path, lines: list[str], numbers: list[int]) -> Iterator[Problem]:
    for line, number in zip(lines, numbers, strict=True):
        try:
            list(_parsed(line.encode(), Path("x.nt")))
        except SyntaxError as error:
            error.lineno = number
            yield _problem(path, error)


def _parsed(source: Any, path: Path) -> Iterator[Piece]:
    import pyoxigraph as ox

    format_ = getattr(ox.RdfFormat, str(_format(path)))
    base = None if format_ == ox.RdfFormat.N_TRIPLES else path.resolve().as_uri()
    quads: Iterator[pyoxigraph.Quad] = ox.parse(source, format_, base_iri=base, rename_blank_nodes=True)
    while batch := list(itertools.islice(quads, BATCH)):
        text = ox.serialize(map(attrgetter("triple"), batch), format=ox.RdfFormat.N_TRIPLES)
        assert text is not None
        yield text, np.full(len(batch), -1)


def _problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, MemoryError):
        return Problem(
            str(path), f"more than memory holds, or a term of more than {MAX_LINE >> 20} MiB", "a smaller file"
        )
    if not isinstance(error, SyntaxError):
        return Problem(str(path), f"bytes that cannot be read ({error})", "UTF-8 text, or gzip where it ends in .gz")
    message = str(error.msg)
    place = re.search(r"line (\d+)(?:.*?column (\d+))?", message)
    line = error.lineno or (int(place[1]) if place else None)
    column = error.offset or (int(place[2]) if place and place[2] else None)
    field = f"column {column}" if column else None
    expected = f"valid {_NAMES[str(_format(path))]}"
    return Problem(str(path), f"broken syntax ({message})", expected, line, field)
