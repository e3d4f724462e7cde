"""Versions of an RDF store in one folder: a change is made on a copy, which becomes the current version in one step.

    shop/lock        held by the writer
    shop/current     name of the version that counts
    shop/graph-7/    a version: files of RocksDB; those that hold data never change, so a copy links them

A change removes the versions before the current one; a reader that has an older one open opens the current one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.errors import MissingExtra, StoreError

if TYPE_CHECKING:
    import pyoxigraph


def oxigraph() -> type[pyoxigraph.Store]:
    """Return pyoxigraph's store.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyoxigraph
    except ImportError:
        raise MissingExtra('RDF needs packages that are not installed; run: pip install "kgrec[rdf]"') from None
    return pyoxigraph.Store


def current(folder: Path) -> Path | None:
    """Return the version that counts, or None if there is none yet.

    Raises:
        StoreError: the folder is not a graph.
    """
    pointer = folder / "current"
    if pointer.is_file():
        return folder / pointer.read_text(encoding="utf-8").strip()
    strange = (
        [p.name for p in folder.iterdir() if p.name != "lock" and not p.name.startswith("graph-")]
        if folder.is_dir()
        else []
    )
    if strange or folder.is_file():
        found = f"which holds {strange[0]}" if strange else "a file"
        raise StoreError(f"{folder}, {found}, is not a graph of kgrec; expected a new folder, or one that kgrec made")
    return None


def change(
    folder: Path,
    work: Callable[[pyoxigraph.Store], object],
    empty: bool = False,
    before: Callable[[Path], object] | None = None,
) -> None:
    """Run `work` on a copy of the current version, which becomes the current one if all goes well.

    Args:
        folder: of the graph.
        work: writes to the copy, and keeps no reference to it.
        empty: give it an empty version in place of a copy, and remove the one before at once.
        before: writes to the copy's folder before `work` does, in another process.

    Raises:
        StoreError: it cannot be written, for instance because the disk is full; the graph is as it was.
    """
    there = current(folder)
    number = int(there.name.removeprefix("graph-")) + 1 if there else 1
    after = folder / f"graph-{number}"
    try:
        _remove_all_but(folder, there)
        if there and not empty:
            shutil.copytree(there, after, copy_function=_link_data)
        if before:
            before(after)
        _write(after, work)
        pointer = folder / ".current"
        pointer.write_text(after.name, encoding="utf-8")
        os.replace(pointer, folder / "current")
        if empty:
            _remove_all_but(folder, after)
    except OSError as error:
        shutil.rmtree(after, ignore_errors=True)
        raise StoreError(f"cannot write {folder}: {error}; it is as it was") from error
    except BaseException:
        shutil.rmtree(after, ignore_errors=True)
        raise


def _write(version: Path, work: Callable[[pyoxigraph.Store], object]) -> None:
    store = oxigraph()(str(version))
    work(store)
    store.flush()
    del store  # closes it: while it is open the engine goes on to merge files, under a reader's hands
    for file in version.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _remove_all_but(folder: Path, kept: Path | None) -> None:
    for version in folder.glob("graph-*"):
        if version != kept:
            shutil.rmtree(version)


def _link_data(source: str, target: str) -> None:
    if source.endswith(".sst"):
        os.link(source, target)
    elif not source.endswith("LOCK"):
        shutil.copy2(source, target)
