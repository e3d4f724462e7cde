"""Erasure of a user or an item from a graph, its runs and the cache."""
