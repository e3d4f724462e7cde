"""Loaders, which read a source into GraphTables."""
