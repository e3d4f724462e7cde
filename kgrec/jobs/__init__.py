"""Batch jobs: train, evaluate, benchmark, copy, roll back, audit, refresh, forget."""
