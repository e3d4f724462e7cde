"""Hyper-parameter search on the validation split."""
