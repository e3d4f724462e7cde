"""Plug-ins: shipped ones, those of other packages, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec._util.plugins import PluginGroup
from kgrec.errors import UsageError
from kgrec.testing.plugins import install

PARTS = PluginGroup("part", "kgrec.test_parts", {"path": "pathlib:Path"})


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def test_shipped_and_registered_plugins_are_found(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    install(patch, tmp_path, "wheels", "Wheel = int\n", {PARTS.group: {"wheel": "wheels:Wheel"}})
    assert PARTS.names() == ["path", "wheel"]
    assert PARTS.load("path") is Path
    assert PARTS.load("wheel") is int
    assert PARTS.broken() == {}


def test_shipped_name_cannot_be_replaced(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    install(patch, tmp_path, "wheels", "Wheel = int\n", {PARTS.group: {"path": "wheels:Wheel"}})
    assert PARTS.load("path") is Path


@pytest.mark.parametrize("code", ["raise RuntimeError('no battery')", "import no_such_module", "(", "exit(3)"])
def test_plugin_that_cannot_be_imported_is_named(tmp_path: Path, patch: pytest.MonkeyPatch, code: str) -> None:
    install(patch, tmp_path, "wheels", code, {PARTS.group: {"wheel": "wheels:Wheel"}})
    with pytest.raises(UsageError, match=r"part 'wheel' \(wheels:Wheel\) cannot be imported: \w+"):
        PARTS.load("wheel")
    assert PARTS.broken().keys() == {"wheel"}
    assert PARTS.load("path") is Path


def test_name_of_two_packages_is_refused(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("wheels", "tires"):
        install(patch, tmp_path / name, name, "Wheel = int\n", {PARTS.group: {"wheel": f"{name}:Wheel"}})
    with pytest.raises(UsageError, match="two packages register part 'wheel': tires:Wheel, wheels:Wheel"):
        PARTS.load("wheel")


def test_unknown_plugin_names_near_matches() -> None:
    with pytest.raises(UsageError, match="unknown part 'pth'; expected one of path; near matches: path"):
        PARTS.load("pth")
