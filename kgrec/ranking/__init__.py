"""Exact top-k lists, item filters, and recommendations as data frames."""
