"""Reader of RDF text with limits on the unpacked size and the nesting depth, which protect against hostile files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Final

import numpy as np

from kgrec.errors import DataError, Problem

MAX_UNPACKED: Final = 256 << 20
"""Unpacked bytes allowed for any gzip file; a larger result is allowed up to `MAX_RATIO` times the file's size."""

MAX_RATIO: Final = 200
MAX_DEPTH: Final = 1_000
MAX_LINE: Final = 16 << 20
"""Maximum bytes of a line of N-Triples, and of a term in the other formats."""

_STATEMENT_END: Final = re.compile(rb">>|\.[ \t\r]*\n")


class BoundedReader:
    """A plain or gzip file with limits on size and nesting.

    Raises:
        DataError: a method that reads exceeds a limit.
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
        """Return about `size` bytes of complete lines, each ended by a newline; empty at the end of the file."""
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
                [Problem(str(self._path), found, "a lower compression ratio; if you trust the file, unpack it first")]
            )
        if self._nesting.depth_with(chunk) > MAX_DEPTH:
            found = f"values nested more than {MAX_DEPTH:,} deep"
            raise DataError([Problem(str(self._path), found, "fewer levels")])
        return chunk


class JsonNesting:
    """Nesting depth of JSON, computed chunk by chunk."""

    def __init__(self) -> None:
        self._depth, self._quotes, self._rest = 0, 0, b""

    def depth_with(self, chunk: bytes) -> int:
        """Return the maximum depth within the next chunk."""
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
    """Upper bound of the nesting depth of quoted triples (`<<`): the number of starts without an end between them."""

    def __init__(self) -> None:
        self._open = 0

    def depth_with(self, chunk: bytes) -> int:
        """Return an upper bound of the depth within the next chunk."""
        if b"<<" not in chunk and not self._open:
            return 0
        counts = [part.count(b"<<") for part in _STATEMENT_END.split(chunk)]
        counts[0] += self._open
        self._open = counts[-1]
        return max(counts)
