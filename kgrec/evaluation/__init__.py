"""Evaluation protocols, and the check that nothing leaks into them."""
