"""Run folders: saved models with their recommendations, and the history of publications."""
