"""Content signals: what texts say."""

from kgrec.signals.content.embeddings import Text

__all__ = ["Text"]
