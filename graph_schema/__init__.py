"""The graph's vocabulary as data: schemas and named queries."""
