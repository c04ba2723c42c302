"""Generative adversarial networks of the drawn world: generator, discriminators, encoder, inversion."""
