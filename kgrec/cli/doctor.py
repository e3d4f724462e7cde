"""`kgrec doctor`: check the installation, or verify a graph and its runs against their checksums."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from kgrec._util.plugins import PluginGroup
from kgrec.errors import UsageError

PACKAGES: Final = (
    "kgrec",
    "ladybug",
    "torch",
    "torch-geometric",
    "transformers",
    "implicit",
    "numpy",
    "pandas",
    "pyarrow",
)

PLUGINS: Final = {
    "loaders": "kgrec.data.loader:LOADERS",
    "signals": "kgrec.config:SIGNALS",
    "stores": "kgrec.store.uri:STORES",
}


def examine() -> tuple[dict[str, Any], bool]:
    """Run each part of kgrec once.

    Returns:
        Part → state, and whether all parts work.
    """
    checks: dict[str, Callable[[], str]] = {
        "device": _device,
        "graph store": _store,
        "text encoder": _encoder,
        **{kind: partial(_plugins, place) for kind, place in PLUGINS.items()},
        "cache": _cache,
    }
    facts: dict[str, Any] = {"python": platform.python_version()}
    facts |= {package: _version(package) for package in PACKAGES}
    tried, healthy = _tried(checks)
    return facts | tried, healthy and "missing" not in facts.values()


def examine_graph(graph: str, runs: str | Path | None = None) -> tuple[dict[str, Any], bool]:
    """Read a graph and its runs completely, and compare their files with the stored checksums.

    Args:
        graph: URI of the graph; read only.
        runs: folder of runs; default: beside the graph.

    Returns:
        Part → state, and whether all parts are intact.

    Raises:
        StoreError: the graph does not exist.
    """
    from kgrec.runs.folder import runs_folder

    root = runs_folder(graph, runs)
    return _tried(
        {"graph": partial(_graph, graph), "runs": partial(_runs, root), "published": partial(_published, root)}
    )


def _tried(checks: Mapping[str, Callable[[], str]]) -> tuple[dict[str, Any], bool]:
    facts, healthy = dict[str, Any](), True
    for part, check in checks.items():
        try:
            facts[part] = check()
        except Exception as error:  # doctor reports every failure of a part
            facts[part] = f"FAILED: {type(error).__name__}: {error}"
            healthy = False
    return facts, healthy


def _graph(uri: str) -> str:
    """Compare the files of an embedded graph with their checksums, and read the graph completely."""
    from kgrec.store import open_graph
    from kgrec.store.uri import GraphUri

    checked = "no checksum: the database server keeps its own" if GraphUri.parse(uri).is_server else _compared(uri)
    with open_graph(uri, read_only=True) as store:
        counts = store.read().counts()
    return f"{checked}; {sum(counts.values())} nodes and relationships are readable"


def _compared(uri: str) -> str:
    from kgrec.store import checksum
    from kgrec.store.atomic_file import own_path
    from kgrec.store.oxigraph import versions as folder
    from kgrec.store.uri import GraphUri

    path = own_path(uri, GraphUri.parse(uri).path or Path(uri), read_only=True)
    version = folder.current(path) if path.is_dir() else None
    is_checked = folder.check(version) if version else path.is_file() and checksum.check(path)
    return "checksum matches" if is_checked else "no checksum: last written by a version of kgrec without checksums"


def _runs(root: Path) -> str:
    from kgrec.errors import RunError
    from kgrec.runs.folder import list_runs, unreadable_runs

    faults = [str(error) for error in unreadable_runs(root).values()]
    n_intact = 0
    for run in list_runs(root):
        try:
            run.check_files()
            n_intact += 1
        except RunError as error:
            faults.append(str(error))
    if faults:
        raise RunError("; ".join(faults))
    return f"{n_intact} intact"


def _published(root: Path) -> str:
    from kgrec.runs.publications import publications

    return f"{len(publications(root))} publications recorded"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def _store() -> str:
    from kgrec.store import open_graph

    with tempfile.TemporaryDirectory() as folder, open_graph(str(Path(folder) / "doctor.lbug"), create=True) as store:
        frame = store.cypher("RETURN 6 * 7 AS answer")
    return "works" if frame["answer"][0] == 42 else f"FAILED: 6 * 7 gave {frame['answer'][0]}"


def _encoder() -> str:
    from kgrec.text import default_encoder

    encoder = default_encoder()
    film, movie, stone = encoder.encode(["a film", "a movie", "a heavy stone"])
    works = float(np.dot(film, movie)) > float(np.dot(film, stone))
    return f"{encoder.name} works" if works else f"FAILED: {encoder.name} finds 'a film' unlike 'a movie'"


def _plugins(place: str) -> str:
    """Import every plug-in of the group at "module:NAME"; return their names."""
    module, _, name = place.partition(":")
    group: PluginGroup = getattr(import_module(module), name)
    if faults := group.broken():
        raise UsageError("; ".join(faults.values()))
    return ", ".join(filter(None, group.names()))


def _cache() -> str:
    from kgrec.text import VectorCache

    folder = VectorCache().folder
    folder.mkdir(parents=True, exist_ok=True)
    return f"{folder}, {shutil.disk_usage(folder).free // 2**30} GiB free"
