"""A package with entry points on the path, as pip would have installed it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    patch: pytest.MonkeyPatch, folder: Path, name: str, code: str, entry_points: Mapping[str, Mapping[str, str]]
) -> None:
    """Put a package of one module on the path until `patch` is undone.

    Args:
        patch: takes it off the path again.
        folder: an empty folder, where it is written.
        name: of the module.
        code: its content.
        entry_points: group → name → value such as "module:Class".
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    write_metadata(folder, name, entry_points)
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, name, raising=False)


def write_metadata(folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write into a folder of the path what an installed package says of itself."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
