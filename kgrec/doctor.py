"""`kgrec doctor`: is everything here, and does it work?"""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Final

import numpy as np

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


def examine() -> tuple[dict[str, Any], bool]:
    """Try each part of kgrec for real.

    Returns:
        Part → what was found, and whether all of it works.
    """
    checks = {"device": _device, "graph store": _store, "text encoder": _encoder, "loaders": _loaders, "cache": _cache}
    facts: dict[str, Any] = {"python": platform.python_version()}
    facts |= {package: _version(package) for package in PACKAGES}
    healthy = all(found != "missing" for found in facts.values())
    for part, check in checks.items():
        try:
            facts[part] = check()
        except Exception as error:  # a broken part is what doctor is there to report, whatever it raises
            facts[part] = f"FAILED: {type(error).__name__}: {error}"
            healthy = False
    return facts, healthy


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def _store() -> str:
    from kgrec.store import open_store

    with tempfile.TemporaryDirectory() as folder, open_store(str(Path(folder) / "doctor.lbug")) as store:
        frame = store.cypher("RETURN 6 * 7 AS answer")
    return "works" if frame["answer"][0] == 42 else f"FAILED: 6 * 7 gave {frame['answer'][0]}"


def _encoder() -> str:
    from kgrec.text import default_encoder

    encoder = default_encoder()
    film, movie, stone = encoder.encode(["a film", "a movie", "a heavy stone"])
    works = float(np.dot(film, movie)) > float(np.dot(film, stone))
    return f"{encoder.name} works" if works else f"FAILED: {encoder.name} finds a film unlike a movie"


def _loaders() -> str:
    return ", ".join(sorted(entry.name for entry in entry_points(group="kgrec.loaders")))


def _cache() -> str:
    from kgrec.text import VectorCache

    folder = VectorCache().folder
    folder.mkdir(parents=True, exist_ok=True)
    return f"{folder}, {shutil.disk_usage(folder).free // 2**30} GiB free"
