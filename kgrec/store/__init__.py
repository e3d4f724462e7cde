"""Graph stores: one port, one file an engine."""
