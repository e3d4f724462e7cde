"""Erasure of a user or an item from a graph and its runs."""
