"""A graph as RDF.

- A node is an IRI: its key where that is one, else base, label and key. It has its label's class as `rdf:type`, its key
  and its properties as literals; a list of strings, or a vector, is one literal of type `rdf:JSON`; a missing value is
  no triple.
- A relationship is a triple of both ends and its type. One with properties, or one that may be there several times as
  behaviors are, is a node of its own besides: `rdf:subject`, `rdf:predicate`, `rdf:object`, and its properties.
- The schema is a literal of the graph's own node: `<base + graph> kgrec:schema "…"`.
"""
