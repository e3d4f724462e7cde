"""Named queries and vector search on a graph."""
