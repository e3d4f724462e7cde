"""Packages with entry points on the import path, as pip installs them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    patch: pytest.MonkeyPatch, folder: Path, name: str, code: str, entry_points: Mapping[str, Mapping[str, str]]
) -> None:
    """Put a package with one module on the import path until `patch` is undone.

    Args:
        patch: removes the package at the end of the test.
        folder: an empty folder for the package.
        name: of the module.
        code: source of the module.
        entry_points: group → name → value such as "module:Class".
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    write_metadata(folder, name, entry_points)
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, name, raising=False)


def write_metadata(folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of an installed package into a folder of the path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
