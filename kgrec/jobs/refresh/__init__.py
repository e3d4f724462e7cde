"""Incremental refresh of a graph, its model and its published recommendations."""
