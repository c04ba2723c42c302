"""Taps: named places to read inside a model."""
