"""Ranking metrics and their significance."""
