"""Queries on a graph: named queries and vector search."""
