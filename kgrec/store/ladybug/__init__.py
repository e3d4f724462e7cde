"""The embedded graph engine."""
