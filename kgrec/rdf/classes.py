"""Mapping of RDF classes to labels: a label covers its class and all subclasses of it by `rdfs:subClassOf`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from kgrec._util.types import BoolArray
from kgrec.data.schema import Schema
from kgrec.errors import Problem
from kgrec.rdf.iris import SUBCLASS, term
from kgrec.rdf.triples import Triples


def labels_of_classes(triples: Triples, schema: Schema) -> tuple[dict[str, int], BoolArray, list[Problem]]:
    """Return the label of each class: the label of the class itself, or of its nearest superclass.

    Returns:
        Class IRI → number of its label; a mask of label pairs, bool [labels + 1, labels], True if the column's class is
        a superclass of the row's class (the last row is for nodes without a label); a problem for every cycle of
        subclasses.
    """
    labels = {term(schema, label): number for number, label in enumerate(schema.nodes)}
    above_of = np.zeros((len(labels) + 1, len(labels)), dtype=bool)
    rows = pa.array(triples.rows(SUBCLASS))
    below = triples.subjects.take(rows).to_pylist()
    above = triples.objects.take(rows).to_pylist()
    classes = list(dict.fromkeys([*below, *above]))
    if not classes:
        return labels, above_of, []
    number = {name: i for i, name in enumerate(classes)}
    ends = [number[name] for name in above], [number[name] for name in below]
    tree = sp.csr_matrix((np.ones(len(below)), ends), shape=(len(classes), len(classes)))
    problems = _cycles(triples, classes, tree, below, rows.to_pylist())
    reached = {}
    for iri, label in labels.items():
        if f"<{iri}>" in number:
            subclasses = breadth_first_order(tree, number[f"<{iri}>"], return_predecessors=False)
            reached[label] = [classes[i][1:-1] for i in subclasses.tolist()]
    nearest = dict(labels)
    for label in sorted(reached, key=lambda label: len(reached[label])):
        for iri in reached[label]:
            nearest.setdefault(iri, label)
            if iri in labels and labels[iri] != label:
                above_of[labels[iri], label] = True
    return nearest, above_of, problems


def _cycles(
    triples: Triples, classes: list[str], tree: sp.csr_matrix, below: list[str], rows: list[int]
) -> list[Problem]:
    n, component = connected_components(tree, directed=True, connection="strong")
    problems = []
    for part in range(n):
        members = np.flatnonzero(component == part).tolist()
        loop = len(members) == 1 and tree[members[0], members[0]] > 0
        if len(members) > 1 or loop:
            names = [classes[i] for i in members]
            where, line = triples.place(rows[below.index(names[0])])
            found = f"a cycle of rdfs:subClassOf: {', '.join(names)}"
            problems.append(Problem(where, found, "subclasses without a cycle", line))
    return problems
