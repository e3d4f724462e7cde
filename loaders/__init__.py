"""Loaders: a source becomes GraphTables, one file a source."""
