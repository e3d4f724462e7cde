"""Evaluation: protocols, metrics of a fitted model, and the check for leakage of test interactions."""
