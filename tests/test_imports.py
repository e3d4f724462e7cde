"""No file imports another that, by some way, imports it: imports for types and inside functions count as well.

Which folder may import which is the contract in pyproject.toml, which `make lint` holds.
"""

from pathlib import Path

import grimp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

import kgrec


def cycles(graph: grimp.ImportGraph) -> list[list[str]]:
    """The groups of modules that import one another, by whatever way."""
    modules = sorted(graph.modules)
    number = {module: num for num, module in enumerate(modules)}
    edges = [(number[a], number[b]) for a in modules for b in graph.find_modules_directly_imported_by(a)]
    ends = tuple(np.array(edges).T)
    matrix = sp.coo_matrix((np.ones(len(edges)), ends), shape=(len(modules), len(modules)))
    _, group = connected_components(matrix, directed=True, connection="strong")
    sizes = np.bincount(group)
    return [[modules[num] for num in np.flatnonzero(group == large)] for large in np.flatnonzero(sizes > 1)]


def test_imports_have_no_cycle() -> None:
    assert cycles(grimp.build_graph("kgrec", "loaders", cache_dir=None)) == []


def test_cycle_through_a_third_module_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")):
        graph.add_import(importer=importer, imported=imported)
    assert cycles(graph) == [["a", "b", "c"]]


def test_package_root_holds_only_public_modules() -> None:
    root = Path(kgrec.__file__).parent
    found = {path.name for path in root.glob("*.py")}
    assert found == {"__init__.py", "__main__.py", "client.py", "config.py", "errors.py", "recommender.py"}
