"""Export of a graph to an RDF file that can be loaded back without loss."""

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
    """Write tables and their schema atomically to a file in Turtle, N-Quads or N-Triples.

    Args:
        tables: tables of a graph, such as those of `GraphStore.read`.
        path: the file; its ending (.ttl, .nq, .nt) sets the format, and a further `.gz` compresses it. `kgrec load rdf`
            reads it back.

    Raises:
        UsageError: the ending is unknown, or the path is not a plain file or a free name.
        DataError: a time is outside the years 1 to 9999.
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
    """Return the ending of an export file, after all checks of `export` that need no graph.

    Raises:
        UsageError, MissingExtra: as in `export`.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in ENDINGS:
        raise UsageError(f"{path} has an unknown ending. Expected one of {', '.join(ENDINGS)}, with or without .gz")
    check_target(path)
    oxigraph()
    return ending


def _turtle(text: bytes, known: dict[str, str]) -> bytes:
    import pyoxigraph as ox

    store = ox.Store()
    store.bulk_load(text, ox.RdfFormat.N_TRIPLES)
    turtle = store.dump(format=ox.RdfFormat.TURTLE, from_graph=ox.DefaultGraph(), prefixes=known)
    return turtle or b""
