"""What guarding a user's query costs: small queries through kgrec, beside the same ones in the engine, in this process.

    python benchmarks/guarded_reads.py

Each is asked in turn, one through kgrec and one in the engine, after one that is not counted: the first through kgrec
starts the process that the others find warm; what that takes is measured apart. Results go to
benchmarks/results/guarded_reads.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ladybug
import pyoxigraph

from kgrec._util import query_process
from kgrec.store.ladybug.engine import open_file
from kgrec.store.ladybug.store import LadybugStore
from kgrec.store.oxigraph.store import RdfStore
from kgrec.testing.graphs import two_communities

RESULTS = Path(__file__).parent / "results" / "guarded_reads.json"
QUERIES = 50
CYPHER = "MATCH (u:User)-[r]->(i:Item) WHERE u.user_id = $user RETURN i.item_id AS id, label(r) AS kind ORDER BY id"
SPARQL = "SELECT ?id WHERE { ?u :user_id ?user . ?u ?kind ?i . ?i :item_id ?id } ORDER BY ?id"


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def compared(kgrec: Callable[[], object], engine: Callable[[], object]) -> dict[str, float]:
    cold = timed(kgrec)
    engine()
    pairs = [(timed(kgrec), timed(engine)) for _ in range(QUERIES)]
    medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
    query_process._children.end()
    return {
        "kgrec_ms": round(medians[0], 2),
        "engine_ms": round(medians[1], 2),
        "more_ms": round(medians[0] - medians[1], 2),
        "first_ms": round(cold, 1),
    }


def of_ladybug(folder: Path) -> dict[str, float]:
    with LadybugStore(folder / "g.lbug") as store:
        store.write(two_communities())
    with LadybugStore(folder / "g.lbug", read_only=True) as store, open_file(store.path, read_only=True) as database:

        def engine() -> object:
            with ladybug.Connection(database) as connection:
                return connection.execute(CYPHER, {"user": "u001"}).get_as_df()  # type: ignore[union-attr]

        return compared(lambda: store.cypher(CYPHER, {"user": "u001"}), engine)


def of_oxigraph(folder: Path) -> dict[str, float]:
    with RdfStore(f"oxigraph:{folder / 'g'}") as store:
        store.write(two_communities())
    with RdfStore(f"oxigraph:{folder / 'g'}", read_only=True) as store:
        there, prefixes = store._opened(), {"": store.require_schema().rdf.base}
        text = SPARQL.replace("?user ", '"u001" ')

        def engine() -> object:
            return [row["id"] for row in there.query(text, prefixes=prefixes)]  # type: ignore[union-attr, index]

        return compared(lambda: store.sparql(SPARQL, {"user": "u001"}), engine)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {"ladybug": of_ladybug(Path(folder)), "oxigraph": of_oxigraph(Path(folder))}
    result = {
        "command": "python benchmarks/guarded_reads.py",
        "queries": QUERIES,
        "medians": found,
        "machine": {
            "cpu_count": os.cpu_count(),
            "python": platform.python_version(),
            "ladybug": ladybug.__version__,
            "pyoxigraph": pyoxigraph.__version__,
        },
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
