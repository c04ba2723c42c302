"""Backbones: one adapter a model family, on unmodified diffusers and transformers classes."""
