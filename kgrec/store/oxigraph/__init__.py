"""Oxigraph, an embedded RDF store."""
