"""Every signal, loader and store that the project ships has a test class that inherits the contract of its kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from kgrec._util.plugins import PluginGroup
from kgrec.config import SIGNALS
from kgrec.data.loader import LOADERS
from kgrec.store.uri import STORES

TESTS = Path(__file__).parents[1]


def covered(contract: str) -> set[Any]:
    """Return the classes that are named in the body of a test class that inherits a contract."""
    return {named for path in TESTS.rglob("test_*.py") for named in _named(ast.parse(path.read_text()), contract)}


def _named(module: ast.Module, contract: str) -> Iterator[Any]:
    """Yield what classes that inherit a contract name of what their module imports from the project."""
    imports = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module]
    source = {alias.asname or alias.name: (node.module, alias.name) for node in imports for alias in node.names}
    for found in module.body:
        if isinstance(found, ast.ClassDef) and any(contract in ast.unparse(base) for base in found.bases):
            names = {node.id for node in ast.walk(found) if isinstance(node, ast.Name)} & source.keys()
            for where, name in (source[name] for name in names):
                if str(where).startswith(("kgrec", "loaders")):
                    yield getattr(import_module(str(where)), name)


@pytest.mark.parametrize(
    ("group", "contract"),
    [(SIGNALS, "SignalContract"), (LOADERS, "LoaderContract"), (STORES, "StoreContract")],
    ids=["signals", "loaders", "stores"],
)
def test_every_shipped_plugin_has_a_contract_test(group: PluginGroup, contract: str) -> None:
    shipped = {group.load(name) for name in group.names()}
    assert shipped
    assert shipped - covered(contract) == set()
