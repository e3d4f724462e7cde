"""Encoding of a graph as RDF.

- A node is an IRI: its key if that is an IRI, else base, label and key. Its `rdf:type` is the class of its label; its
  key and properties are literals. A list of strings or a vector is one literal of type `rdf:JSON`. A missing value has
  no triple.
- A relationship is a triple of its ends and its type. If its type has properties, the relationship is also a statement
  node with `rdf:subject`, `rdf:predicate`, `rdf:object` and the properties.
- The schema is a literal of the graph's own node: `<base + graph> kgrec:schema "…"`.
"""
