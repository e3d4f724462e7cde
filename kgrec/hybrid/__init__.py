"""The hybrid model: a learned blend of graph, collaborative and content signals."""
