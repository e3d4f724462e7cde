"""Batch jobs: train, evaluate, benchmark, refresh, roll back, copy, audit, forget."""
