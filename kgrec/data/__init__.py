"""Data: schemas, graph tables, snapshots, splits, and the checks of input."""
