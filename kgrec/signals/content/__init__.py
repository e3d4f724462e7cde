"""Content signals: what texts say."""

from kgrec.signals.content.embeddings import Embeddings

__all__ = ["Embeddings"]
