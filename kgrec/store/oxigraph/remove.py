"""Copying an RDF graph without one node: deleting is not enough, since the engine keeps names of deleted terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray
from kgrec.data.columns import to_mask
from kgrec.rdf import iris
from kgrec.rdf.triples import Triples, parse

if TYPE_CHECKING:
    import pyoxigraph


def copy_without(source: pyoxigraph.Store, target: pyoxigraph.Store, iri: str) -> dict[str, int]:
    """Copy all graphs to an empty store without one node and its relationships.

    Args:
        source: the store to copy.
        target: an empty store.
        iri: IRI of the node to leave out.

    Returns:
        IRI of a named graph → number of relationships left out of it, or of triples if it has no relationships.
    """
    import pyoxigraph as ox

    left_out = {}
    for graph in (ox.DefaultGraph(), *source.named_graphs()):
        text = source.dump(format=ox.RdfFormat.N_TRIPLES, from_graph=graph) or b""
        triples = parse([text])
        at_node = _statements_at(triples, f"<{iri}>")
        kept = _kept(triples, f"<{iri}>", at_node)
        if kept.any():
            target.bulk_load(_text(triples, kept), ox.RdfFormat.N_TRIPLES, to_graph=graph)
        if isinstance(graph, ox.NamedNode):
            left_out[graph.value] = len(at_node) or int((~kept).sum())
    return left_out


def _statements_at(triples: Triples, node: str) -> list[str]:
    """Return the statement nodes of the relationships at a node."""
    ends = np.concatenate([triples.rows(iris.SUBJECT), triples.rows(iris.OBJECT)])
    at_node = ends[to_mask(pc.equal(triples.objects.take(pa.array(ends)), node))]
    return list(triples.subjects.take(pa.array(at_node)).unique().to_pylist())


def _kept(triples: Triples, node: str, at_node: list[str]) -> BoolArray:
    gone = pa.array([node, *at_node], pa.large_string())
    return ~(to_mask(pc.is_in(triples.subjects, value_set=gone)) | to_mask(pc.is_in(triples.objects, value_set=gone)))


def _text(triples: Triples, kept: BoolArray) -> bytes:
    mask = pa.array(kept)
    predicates = pa.chunked_array([triples.predicates.cast(pa.large_string())])
    columns = [column.filter(mask) for column in (triples.subjects, predicates, triples.objects)]
    end, space = (pa.scalar(text, pa.large_string()) for text in (".\n", " "))
    lines = pc.binary_join_element_wise(*columns, end, space).combine_chunks()
    return bytes(lines.buffers()[2])
