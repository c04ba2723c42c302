"""Small captioners with random weights, saved as each family of image-to-text models is."""

from __future__ import annotations

import json
import string

from miniworld.training.tokenizer import new_tokenizer, save_tokenizer
from shiftless.conditions.caption_model import silenced

WORDS = ["a", "photo", "of", "cat", "dog", "red", "blue", "in", "the", "sun"]
SIDE = 32


def save_pixels(folder, kind: str, **more) -> None:
    half = [0.5, 0.5, 0.5]
    size = {"height": SIDE, "width": SIDE}
    config = {"image_processor_type": kind, "do_resize": True, "size": size, "image_mean": half, "image_std": half}
    (folder / "preprocessor_config.json").write_text(json.dumps({**config, **more}))


def save(model, folder) -> None:
    with silenced():
        model.save_pretrained(folder)


def sharpened(model):
    """A random model with large weights, whose captions differ from photo to photo."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed" not in name and "wte" not in name:
            weight.data.mul_(8)
    return model


def encoder_decoder(folder) -> None:
    """As TrOCR, ViT-GPT2 and the embedded model are saved: an image processor, a tokenizer, no joint processor."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    tokenizer = new_tokenizer(WORDS)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vit = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=8,
    )
    gpt = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=16,
        n_layer=1,
        n_head=2,
        is_decoder=True,
        add_cross_attention=True,
        **special,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        vit, gpt, decoder_start_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.eos_token_id, **special
    )
    save(sharpened(VisionEncoderDecoderModel(config)), folder)
    save_tokenizer(tokenizer, folder)
    save_pixels(folder, "ViTImageProcessor")


def word_pieces(folder):
    from transformers import BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *string.ascii_lowercase]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    return BertTokenizer(str(folder / "vocab.txt"))


def blip(folder) -> None:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipTextConfig, BlipVisionConfig

    tokenizer = word_pieces(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = BlipTextConfig(
        vocab_size=len(tokenizer),
        encoder_hidden_size=16,
        max_position_embeddings=80,
        is_decoder=True,
        **small,
        **special,
    )
    vision = BlipVisionConfig(image_size=SIDE, patch_size=8, initializer_range=0.1, **small)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    save(sharpened(BlipForConditionalGeneration(config)), folder)
    tokenizer.save_pretrained(folder)
    save_pixels(folder, "BlipImageProcessor", processor_class="BlipProcessor")


def git(folder) -> None:
    from transformers import GitConfig, GitForCausalLM, GitVisionConfig

    tokenizer = word_pieces(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = GitVisionConfig(image_size=SIDE, patch_size=8, **small)
    config = GitConfig(
        vision_config=vision.to_dict(),
        vocab_size=len(tokenizer),
        max_position_embeddings=80,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        **small,
    )
    save(sharpened(GitForCausalLM(config)), folder)
    tokenizer.save_pretrained(folder)
    save_pixels(folder, "CLIPImageProcessor", processor_class="GitProcessor", do_center_crop=False)


def word_level(first: list[str], **special):
    """A tokenizer of whole words, for families whose special tokens have fixed places."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys([*first, *WORDS, "An", "image", "What", "does", "describe"])
    vocabulary = {word: i for i, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **ends, **special)


def kosmos(folder) -> None:
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = word_level(["<s>", "<pad>", "</s>", "<unk>", *(f"place{i}" for i in range(64))])
    size = {"height": SIDE, "width": SIDE}
    processor = Kosmos2Processor(CLIPImageProcessorPil(size=size, do_center_crop=False), tokenizer)
    text = {"vocab_size": len(tokenizer), "embed_dim": 16, "layers": 1, "ffn_dim": 16, "attention_heads": 2}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Kosmos2Config(text_config=text, vision_config={**vision, "image_size": SIDE, "patch_size": 8})
    save(sharpened(Kosmos2ForConditionalGeneration(config)), folder)
    processor.save_pretrained(folder)


def florence(folder) -> None:
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = word_level(["<s>", "<pad>", "</s>", "<unk>"], extra_special_tokens={"image_token": "<image>"})
    size = {"height": 64, "width": 64}
    pixels = CLIPImageProcessorPil(size=size, do_center_crop=False, image_seq_length=5)
    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 128}
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    text = {"model_type": "bart", "vocab_size": len(tokenizer), **small, **heads, **special}
    vision = {"depths": (1,) * 4, "embed_dim": (8, 8, 16, 16), "num_heads": (1,) * 4, "num_groups": (1,) * 4}
    config = Florence2Config(
        text_config=text,
        vision_config={**vision, "window_size": 4, "projection_dim": 16},
        image_token_id=tokenizer.image_token_id,
    )
    model = sharpened(Florence2ForConditionalGeneration(config))
    model.generation_config.suppress_tokens = [0, 1, 3, tokenizer.image_token_id]  # words only
    model.generation_config.min_new_tokens = 8
    save(model, folder)
    Florence2Processor(pixels, tokenizer).save_pretrained(folder)


MODELS = {"encoder-decoder": encoder_decoder, "blip": blip, "git": git, "kosmos-2": kosmos, "florence-2": florence}
