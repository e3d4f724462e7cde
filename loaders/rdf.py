"""Loader of RDF files or of a kgrec RDF store: the classes and predicates that a schema names become a graph."""

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

    The schema's `rdf` section maps classes and predicates; names of named graphs are dropped.
    """

    def load(self, source: Source, schema: Schema | None = None) -> GraphTables:
        """Read RDF.

        Args:
            source: a file, a folder of files, a list of them, or `oxigraph:FOLDER`.
            schema: schema of the graph; None uses the schema in the data, which an export of kgrec contains.

        Raises:
            DataError: lists every problem, with file and line if known.
            UsageError: the file does not exist, `source` is not a path, or there is no schema.
            MissingExtra: pyoxigraph is not installed.
        """
        triples = _triples(source)
        known = schema or _own_schema(triples, source)
        _say_ignored(triples, known)
        return decode(triples, known)

    def violations(self, source: Source, schema: Schema | None = None) -> list[Problem]:
        """Return the violations of a schema's SHACL shapes, each with its node; arguments and errors as for `load`."""
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
            f"{source} contains no kgrec schema; expected a schema whose `rdf` section names its classes and "
            "predicates: --schema FILE (docs/how-to/stores.md)"
        )
    text = split(triples.objects.take(rows[:1])).column("text")[0].as_py()
    if text is None:
        where, line = triples.place(int(rows[0]))
        raise DataError([Problem(where, "a kgrec schema that is not a literal", "YAML text", line, iris.SCHEMA)])
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
