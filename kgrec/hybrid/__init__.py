"""The hybrid scorer: a learned blend of graph, collaborative and content signals."""
