"""What commands import that read with the embedded model, for processes forked from one that has imported it."""

from importlib import import_module

from shiftless.conditions.silence import import_quietly

import_quietly()
for name in (
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.segformer.modeling_segformer",
    "transformers.models.vision_encoder_decoder.modeling_vision_encoder_decoder",
    "shiftless.backbones.sd",
    "shiftless.conditions.caption_model",
    "shiftless.reading",
):
    import_module(name)
