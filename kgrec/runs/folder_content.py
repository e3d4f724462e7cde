"""Files of a run folder: write them to a temporary folder, flush them to disk, and move the folder to its place."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from kgrec._util.files import checksum


def write_content(
    folder: Path,
    tables: Mapping[str, pa.Table],
    arrays: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    choices: Mapping[str, Any],
) -> None:
    """Create a run folder with its tables, arrays and choices.json, without run.json."""
    for part in ("", "tables", "arrays"):
        (folder / part).mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
    for name, named in arrays.items():
        contiguous = {key: np.ascontiguousarray(array) for key, array in named.items()}
        save_file(contiguous, folder / "arrays" / f"{name}.safetensors")
    (folder / "choices.json").write_text(as_json(choices), encoding="utf-8")


def as_json(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file of a run."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def file_names(folder: Path) -> list[str]:
    """Return the relative paths of all files in a folder, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def checksums(folder: Path) -> dict[str, str]:
    """Return relative path → checksum of each file in a folder."""
    return {name: checksum(folder / name) for name in file_names(folder)}


def sync(made: Path, folder: Path, marker: Path) -> None:
    """Set the mode of a run's files to that of the run it replaces, or of a new file; flush them to disk."""
    old = folder / "run.json"
    mode = stat.S_IMODE((old if old.is_file() else marker).stat().st_mode)
    for path in (made, made / "tables", made / "arrays"):
        if old.is_file():
            path.chmod(stat.S_IMODE(folder.stat().st_mode))
    for name in file_names(made):
        descriptor = os.open(made / name, os.O_RDONLY)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        os.close(descriptor)


def move_into_place(made: Path, folder: Path, work: Path) -> None:
    """Move a new run folder to its place; the run that it replaces is moved to the temporary folder `work`."""
    if folder.exists():
        (work / "before").mkdir()
        os.replace(folder, work / "before" / folder.name)
    os.replace(made, folder)
