"""Write a graph as an RDF file that loads back equal."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, cast

from kgrec._util.files import atomic_path, check_target, reason
from kgrec.data.table_rows import check_times
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError, UsageError
from kgrec.rdf.encode import check_iris, schema_triple, to_bytes, triples
from kgrec.rdf.iris import prefixes
from kgrec.rdf.triples import oxigraph

ENDINGS = (".ttl", ".nq", ".nt")


def export(tables: GraphTables, path: str | Path) -> None:
    """Write tables and their schema as Turtle, N-Quads or N-Triples; whole or not at all.

    Args:
        tables: what to write, such as what `GraphStore.read` returns.
        path: the file, by its ending; with `.gz` it is compressed. `kgrec load rdf` reads it back as it was.

    Raises:
        UsageError: another ending, or the file is a link, a folder or the like.
        DataError: a time outside the years 1 to 9999.
        StoreError: an IRI is the key of nodes of two labels, or the file cannot be written.
        MissingExtra: pyoxigraph is not installed.
    """
    path = Path(path)
    ending = check_export(path)
    check_iris(None, tables)
    check_times([*tables.nodes.items(), *tables.edges.items()])
    text = [schema_triple(tables.schema).encode(), *map(bytes, to_bytes(list(triples(tables))))]
    if ending == ".ttl":
        known = {prefix: iri for prefix, iri in prefixes(tables.schema).items() if prefix}
        text = [_turtle(b"".join(text), known)]
    try:
        with (
            atomic_path(path) as made,
            cast("IO[bytes]", gzip.open(made, "wb") if path.suffix == ".gz" else made.open("wb")) as file,
        ):
            file.writelines(text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {reason(error)}") from error


def check_export(path: Path) -> str:
    """Return the ending of a file that a graph is to be written to, after the checks that need no graph.

    Raises:
        UsageError, MissingExtra: as `export`.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in ENDINGS:
        raise UsageError(f"{path} has an unknown ending; expected one of {', '.join(ENDINGS)}, with .gz or without")
    check_target(path)
    oxigraph()
    return ending


def _turtle(text: bytes, known: dict[str, str]) -> bytes:
    import pyoxigraph as ox

    store = ox.Store()
    store.bulk_load(text, ox.RdfFormat.N_TRIPLES)
    found = store.dump(format=ox.RdfFormat.TURTLE, from_graph=ox.DefaultGraph(), prefixes=known)
    return found or b""
