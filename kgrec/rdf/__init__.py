"""Graphs as RDF: N-Triples in and out of Arrow, SHACL shapes, export."""
