"""Content-based signals, which use the texts of items and users."""

from kgrec.signals.content.embeddings import Embeddings

__all__ = ["Embeddings"]
