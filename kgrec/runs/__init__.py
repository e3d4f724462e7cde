"""Run folders: saved models, their tables, and what a graph has published."""
