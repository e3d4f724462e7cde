"""RDF files, or an RDF store of kgrec: what a schema names in them becomes a graph."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.data.schema import Schema
from kgrec.errors import DataError, Problem, UsageError
from kgrec.rdf import iris
from kgrec.rdf.decode import decode
from kgrec.rdf.iris import term
from kgrec.rdf.literals import split
from kgrec.store.uri import has_scheme
from loaders.rdf_files import read_files

if TYPE_CHECKING:
    from kgrec.data.tables import GraphTables
    from kgrec.rdf.triples import Triples

logger = logging.getLogger("kgrec.loaders.rdf")

Source = str | Path | Sequence[str | Path]


class RdfLoader:
    """Loads N-Triples, Turtle, JSON-LD and N-Quads, plain or gzip.

    Classes and predicates are those of the schema's `rdf` section; names of named graphs are not kept.
    """

    def load(self, source: Source, schema: Schema | None = None) -> GraphTables:
        """Read RDF.

        Args:
            source: a file, a folder of files, several of them, or `oxigraph:FOLDER`.
            schema: the vocabulary; None takes the one that the data hold, as an export of kgrec does.

        Raises:
            DataError: with every problem, its file and line where they are known.
            UsageError: no such file, no path, or no schema.
            MissingExtra: pyoxigraph is not installed.
        """
        triples = _triples(source)
        known = schema or _own_schema(triples, source)
        _say_ignored(triples, known)
        return decode(triples, known)

    def violations(self, source: Source, schema: Schema | None = None) -> list[Problem]:
        """Return where RDF violates the SHACL shapes of a schema, each with its node; otherwise as `load`."""
        from kgrec.rdf.shacl import violations

        triples = _triples(source)
        return violations(triples, schema or _own_schema(triples, source))


def _triples(source: Source) -> Triples:
    if isinstance(source, str) and has_scheme(source, "oxigraph"):
        from kgrec.store.oxigraph.store import RdfStore

        with RdfStore(source, read_only=True) as store:
            return store.triples()
    files = [source] if isinstance(source, str | Path) else source
    if not isinstance(files, Sequence) or not all(isinstance(file, str | Path) for file in files):
        raise UsageError(f"source={source!r}; expected the path of a file or folder, or a list of them")
    return read_files(files)


def _own_schema(triples: Triples, source: Source) -> Schema:
    rows = triples.rows(iris.SCHEMA)
    if not len(rows):
        raise UsageError(
            f"{source} holds no schema of kgrec; name one whose `rdf` section says what its classes and predicates "
            "mean: --schema FILE (docs/how-to/stores.md)"
        )
    text = split(triples.objects.take(rows[:1])).column("text")[0].as_py()
    if text is None:
        where, line = triples.place(int(rows[0]))
        raise DataError([Problem(where, "a schema of kgrec that is no literal", "its YAML", line, iris.SCHEMA)])
    return Schema.parse(text, where=str(source))


def _say_ignored(triples: Triples, schema: Schema) -> None:
    known = {iris.TYPE, iris.SUBJECT, iris.PREDICATE, iris.OBJECT, iris.SUBCLASS, iris.LABEL, iris.SCHEMA}
    for name, node in schema.nodes.items():
        known |= {term(schema, p, name) for p in (node.key, *node.properties)}
    for name, relationship in schema.relationships.items():
        known |= {term(schema, name), *(term(schema, p, name) for p in relationship.properties)}
    ignored = {iri: n for iri, n in triples.counts().items() if iri not in known}
    if ignored:
        shown = ", ".join(f"{iri} ({n:,})" for iri, n in sorted(ignored.items(), key=lambda item: -item[1])[:5])
        logger.info(
            f"not in the schema, so not loaded: {sum(ignored.values()):,} triples of {len(ignored)} predicates: {shown}"
        )
