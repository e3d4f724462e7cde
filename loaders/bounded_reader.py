"""RDF text as a parser may read it: unpacked no larger than its file can mean, nested no deeper than a stack holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Final

import numpy as np

from kgrec.errors import DataError, Problem

MAX_UNPACKED: Final = 256 << 20
"""Bytes that any file may unpack to; more only up to `MAX_RATIO` times its own."""

MAX_RATIO: Final = 200
MAX_DEPTH: Final = 1_000
MAX_LINE: Final = 16 << 20
"""Bytes of a line of N-Triples, and of a term of the other formats."""

_STATEMENT_END: Final = re.compile(rb">>|\.[ \t\r]*\n")


class BoundedReader:
    """A file, plain or gzip, that is read no further than the bounds.

    Every method that reads raises a DataError beyond them.
    """

    def __init__(self, file: IO[bytes], path: Path, is_json: bool) -> None:
        self._file, self._path = file, path
        self._limit = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size) if path.suffix == ".gz" else None
        self._nesting = JsonNesting() if is_json else TripleNesting()
        self._n_read = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        return self._seen(self._file.read(size))

    def whole_lines(self, size: int) -> bytes:
        """Return about `size` bytes of whole lines, the last one of the file ended too; nothing at the end."""
        text = self._file.read(size)
        rest = b"" if text.endswith(b"\n") else self._file.readline(MAX_LINE)
        if len(rest) == MAX_LINE:
            raise DataError([Problem(str(self._path), f"a line of more than {MAX_LINE >> 20} MiB", "shorter lines")])
        text = self._seen(text + rest)
        return text if not text or text.endswith(b"\n") else text + b"\n"

    def _seen(self, chunk: bytes) -> bytes:
        if not self._n_read:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        self._n_read += len(chunk)
        if self._limit and self._n_read > self._limit:
            found = f"more than {self._limit >> 20} MiB packed in {self._path.stat().st_size:,} bytes"
            raise DataError(
                [Problem(str(self._path), found, "a file that is no bomb; unpack it yourself if it is none")]
            )
        if self._nesting.depth_with(chunk) > MAX_DEPTH:
            found = f"values nested more than {MAX_DEPTH:,} deep"
            raise DataError([Problem(str(self._path), found, "fewer levels")])
        return chunk


class JsonNesting:
    """How deep JSON nests, chunk by chunk."""

    def __init__(self) -> None:
        self._depth, self._quotes, self._rest = 0, 0, b""

    def depth_with(self, chunk: bytes) -> int:
        """Return the greatest depth in a chunk that follows those before."""
        chunk = re.sub(rb"(?s)\\.", b"", self._rest + chunk)
        self._rest = chunk[-1:] if chunk.endswith(b"\\") else b""
        text = np.frombuffer(chunk, np.uint8)
        quotes = self._quotes + np.cumsum(text == ord('"'))
        steps = np.isin(text, (ord("["), ord("{"))).astype(np.int64) - np.isin(text, (ord("]"), ord("}")))
        depths = self._depth + np.cumsum(np.where(quotes % 2 == 0, steps, 0))
        if len(text):
            self._quotes, self._depth = int(quotes[-1]) % 2, int(depths[-1])
        return int(depths.max(initial=0))


class TripleNesting:
    """How deep triples stand in triples (`<<`), chunk by chunk: at most as often as one is begun and none ended."""

    def __init__(self) -> None:
        self._open = 0

    def depth_with(self, chunk: bytes) -> int:
        """Return a bound of the depth in a chunk that follows those before."""
        if b"<<" not in chunk and not self._open:
            return 0
        counts = [part.count(b"<<") for part in _STATEMENT_END.split(chunk)]
        counts[0] += self._open
        self._open = counts[-1]
        return max(counts)
