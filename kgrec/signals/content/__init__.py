"""Content signals: what texts say."""

from kgrec.signals.content.text import Text

__all__ = ["Text"]
