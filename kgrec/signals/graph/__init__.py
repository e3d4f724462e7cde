"""Graph-based signals: LightGCN over the typed graph, meta-paths, and a spectral filter."""
