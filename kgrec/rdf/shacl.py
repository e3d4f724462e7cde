"""SHACL shapes of a schema, and validation of triples against them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from kgrec.data.schema import Schema
from kgrec.data.schema_checks import PREFIXES
from kgrec.errors import MissingExtra, Problem
from kgrec.rdf.iris import prefixes, term
from kgrec.rdf.literals import ACCEPTED
from kgrec.rdf.triples import Triples

if TYPE_CHECKING:
    import rdflib

SHACL = "http://www.w3.org/ns/shacl#"


def shapes(schema: Schema) -> str:
    """Return the SHACL shapes of a schema in Turtle; they describe the data that `kgrec load rdf` accepts."""
    known = {"sh": SHACL, **prefixes(schema)}
    head = [f"@prefix {prefix}: <{iri}> ." for prefix, iri in known.items()]
    nodes = [_node_shape(schema, label) for label in schema.nodes]
    relationships = [shape for type_ in schema.relationships for shape in _statement_shapes(schema, type_)]
    return "\n".join([*head, "", *nodes, _ENDS, *relationships])


def violations(triples: Triples, schema: Schema) -> list[Problem]:
    """Return the violations of a schema's shapes in triples, each with its node, found by pyshacl.

    Raises:
        MissingExtra: pyshacl is not installed.
    """
    try:
        import pyshacl
        import rdflib
    except ImportError:
        raise MissingExtra('SHACL needs packages that are not installed; run: pip install "kgrec[rdf]"') from None
    import pyarrow.compute as pc

    dot, space = (pa.scalar(text, pa.large_string()) for text in (".\n", " "))
    predicates = triples.predicates.dictionary_decode()
    joined = pc.binary_join_element_wise(triples.subjects, predicates, triples.objects, dot, space)
    with _quiet():
        data = rdflib.Graph().parse(data="".join(joined.to_pylist()), format="nt")
        wanted = rdflib.Graph().parse(data=shapes(schema), format="turtle")
        _, results, _ = pyshacl.validate(data, shacl_graph=wanted, meta_shacl=False)
        return sorted(_problems(results, wanted), key=str)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress rdflib's log of invalid literals, with a traceback each, since the shapes report them too."""
    logger = logging.getLogger("rdflib.term")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.disabled = before


def _problems(results: object, wanted: rdflib.Graph) -> Iterator[Problem]:
    import rdflib

    assert isinstance(results, rdflib.Graph)
    sh = rdflib.Namespace(SHACL)
    for result in results.subjects(rdflib.RDF.type, sh.ValidationResult):
        node, path, value = (results.value(result, sh[name]) for name in ("focusNode", "resultPath", "value"))
        message = results.value(result, sh.resultMessage)
        found = "this node" if value is None else value.n3()
        name = wanted.value(results.value(result, sh.sourceShape), sh.name) or path
        yield Problem(f"<{node}>", found, str(message), field=None if name is None else str(name))


def _node_shape(schema: Schema, label: str) -> str:
    node = schema.nodes[label]
    parts = [_property(term(schema, node.key, label), node.key, "string", f"the key of a {label}")]
    parts += [
        _property(term(schema, name, label), name, kind, f"{label}.{name}") for name, kind in node.properties.items()
    ]
    parts += [_relationship(schema, t) for t, r in schema.relationships.items() if label in r.from_]
    body = " ;\n".join(f"  sh:property {part}" for part in parts)
    return f"<{schema.rdf.base}shapes/{label}> a sh:NodeShape ;\n  sh:targetClass <{term(schema, label)}> ;\n{body} .\n"


def _property(iri: str, name: str, kind: str, what: str) -> str:
    many = {"strings": "literals", "string": "a literal, in other languages too"}  # `decode` keeps one language
    one = "" if kind in many else "sh:maxCount 1 ; "
    message = f"{what}: {many.get(kind, f'one literal of type {kind}')}"
    return f'[ sh:path <{iri}> ; sh:name "{name}" ; {one}{_literal(kind)} ; sh:message "{message}" ]'


def _literal(kind: str) -> str:
    accepted = ACCEPTED[kind]
    if not accepted:
        return "sh:nodeKind sh:Literal"
    choices = " ".join(f"[ sh:datatype <{PREFIXES['xsd']}{name}> ]" for name in accepted)
    return f"sh:or ( {choices} )"


def _relationship(schema: Schema, type_: str) -> str:
    """Return the property shape of a relationship: its end is an IRI without a label that is not allowed there."""
    labels = schema.relationships[type_].to
    message = f"{type_} to an IRI of {' or '.join(labels)}"
    others = (label for label in schema.nodes if label not in labels)
    allowed = " ; ".join(f"sh:not [ sh:class <{term(schema, label)}> ]" for label in others)
    allowed = f"{allowed} ; " if allowed else ""
    path = f'sh:path <{term(schema, type_)}> ; sh:name "{type_}"'
    return f'[ {path} ; sh:nodeKind sh:IRI ; {allowed}sh:message "{message}" ]'


_ENDS = """<urn:kgrec:shapes/relationship> a sh:NodeShape ;
  sh:targetSubjectsOf rdf:subject ;
  sh:property [ sh:path rdf:subject ; sh:minCount 1 ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] ;
  sh:property [ sh:path rdf:predicate ; sh:minCount 1 ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] ;
  sh:property [ sh:path rdf:object ; sh:minCount 1 ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] .
"""


def _statement_shapes(schema: Schema, type_: str) -> Iterator[str]:
    """Yield the shapes of a relationship type's properties, which target statement nodes by the property they have."""
    for name, kind in schema.relationships[type_].properties.items():
        iri = term(schema, name, type_)
        if not any(iri == term(schema, p, label) for label, node in schema.nodes.items() for p in node.properties):
            shape = f"<{schema.rdf.base}shapes/{type_}/{name}> a sh:NodeShape ;\n  sh:targetSubjectsOf <{iri}> ;\n"
            yield f"{shape}  sh:property {_property(iri, name, kind, f'{type_}.{name}')} .\n"
