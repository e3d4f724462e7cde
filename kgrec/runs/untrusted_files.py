"""Safe reading of the files of a run folder, which may come from an untrusted source.

A file is read only if it is a regular file in the folder, not reached through a link, and if its content needs memory
in proportion to its size. Any fault raises one `RunError` that names the file.
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

MAX_JSON_BYTES: Final = 64 << 20
"""Maximum bytes of a JSON file."""
MAX_HEADER_BYTES: Final = 8 << 20
"""Maximum bytes of the header of a safetensors file; enough for about 100,000 arrays."""
ALWAYS_ALLOWED_BYTES: Final = 1 << 30
"""Bytes of memory that a table of any file size may take."""
MAX_MEMORY_RATIO: Final = 100
"""Maximum ratio of memory to file size for larger tables; tables by training reach 20."""
MAX_NUMBER: Final = 1e12
"""Maximum absolute value of a number, so that products and sums stay finite."""
MAX_SHOWN_CHARACTERS: Final = 60
"""Maximum characters of an invalid value in an error."""

_NUMBERS: Final = {"float16", "float32", "float64", "int64", "int32", "uint8"}


def damaged(path: Path, what: str) -> RunError:
    """Return the error for a file whose content cannot be used."""
    return RunError(f"{path} is damaged ({what}). Restore the folder, or train again")


def unreadable(path: Path, error: object) -> RunError:
    """Return the error for a file that cannot be read."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return RunError(f"{path} cannot be read ({reason}). Restore the folder, or train again")


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Convert errors about an invalid value, type, key or length in the block to a `RunError` that names the file.

    Raises:
        RunError: the content of the file is invalid.
    """
    try:
        yield
    except ValidationError as error:
        raise damaged(path, faults(error)) from None
    except KgrecError:  # has its own message
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        message = str(error).splitlines()[0] if str(error) else ""
        known = isinstance(error, ValueError | TypeError) and message
        raise damaged(path, message if known else f"{type(error).__name__} {message}".strip()) from error


def faults(error: ValidationError) -> str:
    """Return the first three faults of a pydantic error, as `key: found …; expected …`."""
    errors = error.errors(include_url=False)
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    return "; ".join(map(_fault, errors[:3])) + more


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "the content"
    if fault["type"] == "missing":
        return f"{place} is missing"
    expected = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{place}: found {shown(fault['input'])}; expected {expected}"


def shown(value: object) -> str:
    """Return an invalid value for an error message, truncated."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def size_of(root: Path, name: str) -> int:
    """Return the size of a regular file of a run folder, in bytes.

    Args:
        root: the run folder.
        name: path of the file, relative to the folder.

    Raises:
        RunError: the file is missing, is a link, folder or other special file, or is reached through a link.
    """
    path = root / name
    if ".." in path.relative_to(root).parts:
        raise damaged(path, "its path leads out of the run folder")
    try:
        for folder in path.parents[: len(Path(name).parts) - 1]:
            _expect(folder, folder.lstat().st_mode, stat.S_ISDIR, "a folder")
        status = path.lstat()
        _expect(path, status.st_mode, stat.S_ISREG, "a plain file")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise unreadable(path, getattr(error, "strerror", None) or error) from error
    return status.st_size


def _expect(path: Path, mode: int, is_right: Any, expected: str) -> None:
    if not is_right(mode):
        raise damaged(path, f"found {kind_of(mode)}; expected {expected}")


def read_object(root: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of a run folder.

    Raises:
        RunError: the file is missing, not a regular file, too large, not JSON, nested too deep, or has duplicate keys.
    """
    path, size = root / name, size_of(root, name)
    if size > MAX_JSON_BYTES:
        raise damaged(path, f"found {size:,} bytes; expected at most {MAX_JSON_BYTES:,}")
    try:
        content = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_object)
        json.dumps(content, ensure_ascii=False).encode()  # fails on lone surrogates
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise damaged(path, f"not readable as JSON ({reason})") from None
    if not isinstance(content, dict):
        raise damaged(path, f"found {shown(content)}; expected an object")
    return content


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("duplicate key")
    return values


def read_table(root: Path, name: str) -> pa.Table:
    """Return the table in a Parquet file of a run folder.

    Text columns are read dictionary-encoded first, so that a small file that repeats a long text cannot fill memory.

    Raises:
        RunError: the file is missing, not a regular file, not Parquet, or needs far more memory than its size.
    """
    path, size = root / name, size_of(root, name)
    allowed = max(ALWAYS_ALLOWED_BYTES, MAX_MEMORY_RATIO * size)
    try:
        with pq.ParquetFile(path) as file:
            types, memory = file.schema_arrow, _memory(file.metadata)
        texts = [field.name for field in types if _is_text(field.type)]
        if memory <= allowed:
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                table = file.read()
            memory += sum(map(_decoded_bytes, table.columns))
        if memory > allowed:
            raise damaged(
                path, f"found {memory:,} bytes in memory; expected at most {allowed:,} for {size:,} in the file"
            )
        return table.cast(pa.schema(types, metadata=None)).replace_schema_metadata(None)
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError, KeyError) as error:
        raise unreadable(path, error) from error


def _memory(metadata: pq.FileMetaData) -> int:
    """Return the approximate bytes of a table in memory, without the expansion of repeated texts."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    values = sum(max(8 * chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks)
    return int(8 * metadata.num_rows * metadata.num_columns + values)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _decoded_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of a dictionary-encoded text column after decoding; 0 for other columns."""
    if not pa.types.is_dictionary(column.type):
        return 0
    chunks = [(pc.binary_length(chunk.dictionary), chunk.indices) for chunk in column.chunks]
    return sum(pc.sum(lengths.take(indices).cast(pa.int64())).as_py() or 0 for lengths, indices in chunks)


def read_arrays(root: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays in a safetensors file of a run folder: name → array.

    Raises:
        RunError: the file is missing, not a regular file or not safetensors; or an array has an unsupported type, or a
            number that is not finite or exceeds `MAX_NUMBER`.
    """
    path, size = root / name, size_of(root, name)
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if MAX_HEADER_BYTES < header < size:
            raise damaged(path, f"found a header of {header:,} bytes; expected at most {MAX_HEADER_BYTES:,}")
        arrays = dict(load_file(path))
    except RunError:
        raise
    except Exception as error:  # the errors of safetensors derive from Exception only
        raise unreadable(path, error) from error
    for key, array in arrays.items():
        if array.dtype.name not in _NUMBERS:
            raise damaged(path, f"{key!r} is of type {array.dtype}; expected one of {', '.join(sorted(_NUMBERS))}")
        if array.size and array.dtype.kind == "f" and not float(max(-array.min(), array.max())) <= MAX_NUMBER:
            raise damaged(path, f"{key!r} has NaN, infinity or a number beyond {MAX_NUMBER:g}; expected smaller ones")
    return arrays
