"""Data: one loader a benchmark, each in its published layout on disk."""
