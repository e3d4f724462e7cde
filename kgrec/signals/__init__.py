"""Signals: what scores a (user, item)."""
