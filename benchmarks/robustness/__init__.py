"""Robustness: what hostile, broken and interrupted input does, tried from a seed and counted."""
