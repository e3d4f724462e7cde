"""Files of a run folder, read without trusting them: a run may come from a stranger.

A file is read if it is a plain file in the folder itself, never through a link, and if what it holds takes memory in
proportion to its size. What is wrong with it is one `RunError` that names it.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError
from safetensors.numpy import load_file

from kgrec._util.files import kind_of
from kgrec.errors import KgrecError, RunError

MAX_JSON: Final = 64 << 20
"""Bytes of a JSON file at most."""
MAX_HEADER: Final = 8 << 20
"""Bytes of the list of arrays of a safetensors file at most: some 100,000 arrays."""
ALWAYS_FITS: Final = 1 << 30
"""Bytes that a table may take in memory however small its file is."""
MAX_RATIO: Final = 100
"""How many times its file's size a larger table may take in memory; what training writes takes up to 20 times."""
MAX_NUMBER: Final = 1e12
"""Size of a number at most: products and sums of such ones are still finite."""
MAX_SHOWN_CHARACTERS: Final = 60
"""Characters of a wrong value that an error shows."""

_NUMBERS: Final = {"float32", "float64", "int64", "int32", "uint8"}


def damaged(path: Path, what: str) -> RunError:
    """Return the error for a file whose content cannot be used."""
    return RunError(f"{path} is damaged ({what}); train again, or restore the folder")


def unreadable(path: Path, error: object) -> RunError:
    """Return the error for a file that cannot be read at all."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return RunError(f"{path} cannot be read ({reason}); train again, or restore the folder")


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Name the file whose content was being used when a wrong value, type, key or length was met.

    Raises:
        RunError: instead of that error.
    """
    try:
        yield
    except ValidationError as error:
        raise damaged(path, faults(error)) from None
    except KgrecError:  # says already what is wrong
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        message = str(error).splitlines()[0] if str(error) else ""
        known = isinstance(error, ValueError | TypeError) and message
        raise damaged(path, message if known else f"{type(error).__name__} {message}".strip()) from error


def faults(error: ValidationError) -> str:
    """Return the first three faults that pydantic found, as `key: found …; expected …`."""
    found = error.errors(include_url=False)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(map(_fault, found[:3])) + more


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "the content"
    if fault["type"] == "missing":
        return f"{place} is missing"
    expected = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{place}: found {shown(fault['input'])}; expected {expected}"


def shown(value: object) -> str:
    """Return a wrong value for an error, cut short."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def size_of(root: Path, name: str) -> int:
    """Return the bytes of a plain file of a run folder.

    Args:
        root: the run folder.
        name: of the file, relative to it.

    Raises:
        RunError: it is missing, a link, a folder or another thing that is no file, or lies in a folder that is a link.
    """
    path = root / name
    if ".." in path.relative_to(root).parts:
        raise damaged(path, "its name leads out of the run's folder")
    try:
        for folder in path.parents[: len(Path(name).parts) - 1]:
            _expect(folder, folder.lstat().st_mode, stat.S_ISDIR, "a folder")
        found = path.lstat()
        _expect(path, found.st_mode, stat.S_ISREG, "a plain file")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise unreadable(path, getattr(error, "strerror", None) or error) from error
    return found.st_size


def _expect(path: Path, mode: int, is_right: Any, expected: str) -> None:
    if not is_right(mode):
        raise damaged(path, f"found {kind_of(mode)}; expected {expected}")


def read_object(root: Path, name: str) -> dict[str, Any]:
    """Return the object that a JSON file of a run folder holds.

    Raises:
        RunError: it is missing, no plain file, too large, not JSON, nested too deep, or gives a key twice.
    """
    path, size = root / name, size_of(root, name)
    if size > MAX_JSON:
        raise damaged(path, f"{size:,} bytes; expected at most {MAX_JSON:,}")
    try:
        content = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_object)
        json.dumps(content, ensure_ascii=False).encode()  # which lone surrogates are not taken by
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise damaged(path, f"not readable as JSON ({reason})") from None
    if not isinstance(content, dict):
        raise damaged(path, f"found {shown(content)}; expected an object")
    return content


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def read_table(root: Path, name: str) -> pa.Table:
    """Return the table that a Parquet file of a run folder holds.

    Text is read as a dictionary first, so that a small file of a long text repeated is known before it fills memory.

    Raises:
        RunError: it is missing, no plain file, not Parquet, or would take far more memory than its size.
    """
    path, size = root / name, size_of(root, name)
    allowed = max(ALWAYS_FITS, MAX_RATIO * size)
    try:
        with pq.ParquetFile(path) as file:
            types, memory = file.schema_arrow, _memory(file.metadata)
        texts = [field.name for field in types if _is_text(field.type)]
        if memory <= allowed:
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                table = file.read()
            memory += sum(map(_decoded_bytes, table.columns))
        if memory > allowed:
            raise damaged(path, f"{memory:,} bytes in memory; expected at most {allowed:,} of a file of {size:,}")
        return table.cast(pa.schema(types, metadata=None)).replace_schema_metadata(None)
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError, KeyError) as error:
        raise unreadable(path, error) from error


def _memory(metadata: pq.FileMetaData) -> int:
    """Return roughly the bytes that a table takes, long texts that are repeated aside."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    values = sum(max(8 * chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks)
    return int(8 * metadata.num_rows * metadata.num_columns + values)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _decoded_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of the texts of a dictionary column, 0 of any other column."""
    if not pa.types.is_dictionary(column.type):
        return 0
    chunks = [(pc.binary_length(chunk.dictionary), chunk.indices) for chunk in column.chunks]
    return sum(pc.sum(lengths.take(indices).cast(pa.int64())).as_py() or 0 for lengths, indices in chunks)


def read_arrays(root: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays, name → array, that a safetensors file of a run folder holds.

    Raises:
        RunError: it is missing, no plain file or not safetensors, an array is of a type that runs do not have, or a
            number is not finite or so large that results would not be.
    """
    path, size = root / name, size_of(root, name)
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if MAX_HEADER < header < size:
            raise damaged(path, f"a list of arrays of {header:,} bytes; expected at most {MAX_HEADER:,}")
        arrays = dict(load_file(path))
    except RunError:
        raise
    except Exception as error:  # safetensors raises errors of its own that derive from Exception only
        raise unreadable(path, error) from error
    for key, array in arrays.items():
        if array.dtype.name not in _NUMBERS:
            raise damaged(path, f"{key!r} is of type {array.dtype}; expected one of {', '.join(sorted(_NUMBERS))}")
        if array.size and array.dtype.kind == "f" and not bool(max(-array.min(), array.max()) <= MAX_NUMBER):
            raise damaged(path, f"{key!r} holds NaN, infinity or a number beyond {MAX_NUMBER:g}; expected smaller ones")
    return arrays
