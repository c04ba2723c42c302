"""The embedded world and the small model trained on it."""
