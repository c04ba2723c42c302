"""Bench: one file a published table; every number with its interval."""
