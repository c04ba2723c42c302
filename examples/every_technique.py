"""Every technique in one audit: prompt, learned word, ControlNet, IP-Adapter, mask and LoRA, on a random-weight twin.

python examples/every_technique.py [PHOTO ...]

The twin, the LoRA and the learned word have random weights, so that it runs anywhere without a download and its numbers
mean nothing. With `shiftless.load("sd15-inpainting")` and files of your own they do. The command line does the same:

shiftless audit PHOTOS -m sd15-inpainting --timestep 300 --prompt 'a photo of a <cat-toy>' --control canny
    --textual-inversion cat-toy.safetensors --image-prompt ip-adapter --inpaint keep --lora look.safetensors
"""

import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

import shiftless
from miniworld.datasets import SEEDS, photos
from shiftless.auditing.candidates import candidates

made = tempfile.TemporaryDirectory()
folder = Path(made.name)
torch.manual_seed(0)
save_file({"<cat-toy>": torch.randn(2, 32)}, folder / "cat-toy.safetensors")
layer = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
halves = {f"{layer}.lora_A.weight": torch.randn(4, 64), f"{layer}.lora_B.weight": torch.randn(64, 4)}
save_file(halves, folder / "look.safetensors")

model = shiftless.load("twin:sd15-inpainting", dtype="fp32")
pictures = sys.argv[1:] or [picture.image for picture in photos(SEEDS["shown"].start, 2)]
tried = candidates(
    model,
    shiftless.Recipe(timestep=300, textual_inversion=str(folder / "cat-toy.safetensors")),
    prompts=["a photo of a <cat-toy>"],
    controls=["canny"],
    image_prompts=["ip-adapter"],
    inpaints=["keep"],
    loras=[str(folder / "look.safetensors")],
)
result = shiftless.audit(model, pictures, tried, finish=0)
print(result)
print("keeps the content best:", result.best().label)
