"""How the embedded model is made: pictures are drawn, an autoencoder learns them, then a captioned denoiser."""
