"""Metrics: plain functions on numpy arrays, one file a noun."""
