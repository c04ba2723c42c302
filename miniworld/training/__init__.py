"""Training of the embedded model: drawn pictures, an autoencoder, then a text-conditioned denoiser."""
