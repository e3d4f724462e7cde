"""Data on its way into the engine."""
