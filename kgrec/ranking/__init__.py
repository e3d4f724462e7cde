"""Exact top-k lists and item filters."""
