"""Whether another runtime computes a reading's networks faster on a CPU than torch does as it is.

    python benchmarks/runtimes.py                              Stable Diffusion 1.5's size at 512 x 512, fp32
    python benchmarks/runtimes.py --dtype bf16 --ways inductor,openvino
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/runtimes.py       as on a CPU without AVX-512

A reading is the autoencoder's encoder, which has no taps, and the denoiser up to the last tap of GDF's recipe. First is
printed what torch's time goes to. A compiler that keeps oneDNN's convolutions and products, as torch.compile does,
can save no more than what is neither these nor attention; int8 linear layers no more than products.

Then each way computes each part in turn with torch, in one process and on one thread, with the same weights: random,
since time does not depend on them. Printed are the CPU time of both, the best of a few rounds, so that other work on
the machine disturbs both alike; how many times faster the way is; what it reaches of the rate of a large matrix
product, the best that the machine gives in that precision; the CPU time of the first call, in which graphs are compiled
(of this process; what compilers that it starts take is not in it); and the cosine of its result with torch's, of the
tap where they differ most.

torch         as shiftless computes: channels_last, oneDNN's convolutions, fused attention
contiguous    without channels_last
inductor      torch.compile of the whole encoder; of the denoiser each repeated block by itself, as diffusers does it
              (`compile_repeated_blocks`), and each ResnetBlock2D, so that hooks and an early stop lie between graphs
openvino      converted to OpenVINO, in the same precision; the denoiser's graph ends at the last tap, gives the taps
              alone, and holds for one size, prompt length and choice of taps, without LoRAs (pip install openvino)
int8          int8 weights of the linear layers, computed in the model's dtype (torchao; `quantise="int8"`)
int8-dynamic  int8 weights and int8 activations of the linear layers, scaled for each token at run time (torchao)
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

TAPS = ("up0", "up1", "up2", "up3.attn2")
TIMESTEP, TOKENS = 50, 77
WAYS = {
    "encoder": ("contiguous", "inductor", "openvino"),
    "denoiser": ("contiguous", "inductor", "openvino", "int8", "int8-dynamic"),
}
COMPILED = ("ResnetBlock2D",)  # beside the blocks that the network's class says are repeated
FASTER, ALIKE = 1.1, 0.999
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
KINDS = {
    "convolutions": ("convolution", "conv2d"),
    "products": ("addmm", "::mm", "bmm", "linear"),
    "attention": ("dot_product",),
}
"""What torch spends time on: kind -> parts of its operators' names."""
Maps = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Part:
    """A network of a reading, and what it is called with.

    network     the encoder's or the denoiser's module
    read        calls such a network and returns what a reading needs of it: name -> maps in float32
    inputs      the tensors of a call
    operations  of a call, as torch counts them; a multiplication and an addition are two
    """

    name: str
    network: nn.Module
    read: Callable[..., Maps]
    inputs: tuple[torch.Tensor, ...]
    operations: int = 0


class Encoder(nn.Module):
    """Pixels B 3 H W -> the moments of the posterior, as AutoencoderKL computes them."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder, self.quant = vae.encoder, vae.quant_conv or nn.Identity()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        moments: torch.Tensor = self.quant(self.encoder(pixels))
        return moments


class Taps(nn.Module):
    """A denoiser as a network that gives its taps alone, for runtimes that convert what is traced."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.network, self.read = part.network, part.read

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.read(self.network, *inputs).values())


def parts_of(model: str, size: int, dtype: torch.dtype, full: bool = True) -> Iterator[Part]:
    """Yield the encoder and the denoiser of a Stable Diffusion model's size, with random weights and inputs.

    full  in its real size; else the tiny copy that tests use
    """
    from shiftless.backbones.registry import models
    from shiftless.backbones.twins import twin_parts
    from shiftless.backbones.unet_taps import unet_taps
    from shiftless.taps.hooks import tapped

    with torch.device("meta"):
        made = twin_parts(models()[model], full=full)
    vae, unet = made["vae"], made["unet"]
    generator = torch.Generator().manual_seed(0)

    def images(channels: int, side: int) -> torch.Tensor:
        drawn = torch.rand(1, channels, side, side, generator=generator) * 2 - 1
        return drawn.to(dtype, memory_format=torch.channels_last)

    yield ready("encoder", Encoder(vae), encoded, (images(3, size),))
    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    taps = [tap for tap in unet_taps(unet.config, stride) if tap.name in TAPS]
    prompt = torch.randn(1, TOKENS, unet.config.cross_attention_dim, generator=generator).to(dtype)

    def denoised(network: nn.Module, latent: torch.Tensor, prompt: torch.Tensor) -> Maps:
        with tapped(network, taps) as captured:
            network(latent, torch.tensor(TIMESTEP), prompt, return_dict=False)
        return {name: value.float() for name, value in captured.maps().items()}

    latent = images(vae.config.latent_channels, size // stride)
    yield ready("denoiser", unet, denoised, (latent, prompt))


def ready(name: str, network: nn.Module, read: Callable[..., Maps], inputs: tuple[torch.Tensor, ...]) -> Part:
    """Count the operations of a network that is on the meta device, and give it memory and weights."""
    counter, dtype = FlopCounterMode(display=False), inputs[0].dtype
    with counter, torch.device("meta"):
        read(network.to(dtype), *(one.to("meta") for one in inputs))
    return Part(name, filled(network, dtype), read, inputs, int(counter.get_total_flops()))


def encoded(network: nn.Module, pixels: torch.Tensor) -> Maps:
    """Call an encoder."""
    return {"moments": network(pixels).float()}


def filled(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Give a network on the meta device memory on the CPU and random weights, which takes less time than its own."""
    network = network.to_empty(device="cpu").to(dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
    for name, one in network.named_parameters():
        if one.ndim > 1:
            one.uniform_(-1, 1).div_((one[0].numel() / 3) ** 0.5)  # outputs as large as inputs
        else:
            one.fill_(float(name.endswith("weight")))  # norms and biases
    return network


def shared(network: nn.Module) -> nn.Module:
    """Return a copy of a network with the same tensors: replacing one in the copy leaves the network as it is."""
    return copy.deepcopy(network, {id(one): one for one in chain(network.parameters(), network.buffers())})


def prepare(way: str, part: Part) -> Callable[[], Maps]:
    """Return a function that computes a part by a way; what it compiles, it may compile when it is first called."""
    if way == "torch":
        return lambda: part.read(part.network, *part.inputs)
    if way == "openvino":
        return with_openvino(part)
    if way == "contiguous":
        network, inputs = copy.deepcopy(part.network), tuple(one.contiguous() for one in part.inputs)
        network.to(memory_format=torch.contiguous_format)
        return lambda: part.read(network, *inputs)
    network = shared(part.network)
    if way == "inductor":
        compile_blocks(network)
    else:
        quantise(network, dynamic=way == "int8-dynamic")
    return lambda: part.read(network, *part.inputs)


def compile_blocks(network: nn.Module, backend: str = "inductor") -> None:
    """Compile an encoder whole, and a denoiser block by block, in place; each at its first call."""
    if isinstance(network, Encoder):
        network.compile(dynamic=False, backend=backend)
        return
    torch._dynamo.config.recompile_limit = 64  # blocks of one class and many sizes: past it they are not compiled
    names = (*(getattr(network, "_repeated_blocks", None) or ()), *COMPILED)
    for one in network.modules():
        if type(one).__name__ in names:
            one.compile(dynamic=False, backend=backend)


def quantise(network: nn.Module, dynamic: bool) -> None:
    """Give the linear layers of a denoiser int8 weights, and int8 activations too where `dynamic`."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    from shiftless.backbones.quantise import quantisable, quantise_weights

    if not dynamic:
        quantise_weights(network, "int8")
        return
    chosen = {id(layer) for _, layer in quantisable(network)}
    quantize_(network, Int8DynamicActivationInt8WeightConfig(), lambda module, _path: id(module) in chosen)


def with_openvino(part: Part) -> Callable[[], Maps]:
    """Convert a part to OpenVINO, in the precision of its inputs, and return a function that computes it."""
    import openvino

    names = list(part.read(part.network, *part.inputs))
    plain = tuple(one.float().contiguous() for one in part.inputs)
    shapes = [list(one.shape) for one in plain]
    network = part.network if part.inputs[0].dtype == torch.float32 else copy.deepcopy(part.network).float()
    whole = Taps(Part(part.name, network, part.read, plain))
    graph = openvino.convert_model(whole, example_input=plain, input=shapes)
    hint = "f32" if part.inputs[0].dtype == torch.float32 else "bf16"
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    arrays = [one.numpy() for one in plain]

    def run() -> Maps:
        results = compiled(arrays)
        return {name: torch.from_numpy(results[i]) for i, name in enumerate(names)}

    return run


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of a call, of all its threads."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def likeness(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Return the cosine between two results, of the tap where they differ most; NaN if one is not finite.

    >>> one = {"x": torch.ones(2), "y": torch.tensor([1.0, 0.0])}
    >>> round(likeness(one, {**one, "x": torch.tensor([1.0, 0.0])}), 3)
    0.707
    """
    pairs = ((a[name].double().flatten(), b[name].double().flatten()) for name in b)
    return min(float(torch.nn.functional.cosine_similarity(x, y, dim=0)) for x, y in pairs)


def measure(part: Part, way: str, rounds: int) -> dict[str, Any]:
    """Time a way and torch in turn, `rounds` times each."""
    plain, run = prepare("torch", part), prepare(way, part)
    results: list[Maps] = []
    first = seconds(lambda: results.append(run()))
    results.append(plain())
    pairs = [(seconds(plain), seconds(run)) for _ in range(rounds)]
    torchs, times = (min(one) for one in zip(*pairs))
    return {
        "part": part.name, "way": way, "first": first, "torch": torchs, "seconds": times, "faster": torchs / times,
        "operations": part.operations, "cosine": likeness(*results),
    }  # fmt: skip


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Return what torch's time in a call goes to: the shares of `KINDS`, and of all else."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    spent = dict.fromkeys((*KINDS, "all else"), 0.0)
    for one in profile.key_averages():
        kinds = (kind for kind, names in KINDS.items() if any(name in one.key for name in names))
        spent[next(kinds, "all else")] += one.self_cpu_time_total
    return {kind: value / sum(spent.values()) for kind, value in spent.items()}


def rate_of_products(dtype: torch.dtype, side: int = 2048) -> float:
    """Return the operations a second of CPU time of a product of two large matrices: the best of three."""
    a, b = (torch.randn(side, side, dtype=torch.float32).to(dtype) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: a @ b) for _ in range(3))


def worth(row: Mapping[str, Any]) -> bool:
    """Whether a way is worth having: at least a tenth faster than torch, and with the same result."""
    return bool(row["faster"] >= FASTER and row["cosine"] >= ALIKE)


def show(rows: Sequence[Mapping[str, Any]], best: float) -> None:
    """Print a line for each part and way, as a table in Markdown; `best` is the rate of a large matrix product."""
    print("| part | way | CPU s | torch | times faster | of a product's rate | first call, s | cosine | worth it |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        share = row["operations"] / row["seconds"] / best
        print(
            f"| {row['part']} | {row['way']} | {row['seconds']:.2f} | {row['torch']:.2f} | {row['faster']:.2f} | "
            f"{share:.0%} | {row['first']:.1f} | {row['cosine']:.5f} | {'yes' if worth(row) else 'no'} |"
        )


def main(
    model: str = typer.Option("sd15", help="Whose size: sd15 or sd21."),
    size: int = typer.Option(512, min=64, help="Side of the picture in pixels, a multiple of 64."),
    dtype: str = typer.Option("fp32", help="fp32 or bf16."),
    parts: str = typer.Option("encoder,denoiser", help="Comma-separated: encoder, denoiser."),
    ways: str = typer.Option("", help="Comma-separated ways; all by default."),
    rounds: int = typer.Option(2, min=1, help="How often each way and torch are timed."),
    tiny: bool = typer.Option(False, help="The tiny copy of the model: for trying the script."),
    json_file: Path = typer.Option(None, "--json", help="Write the numbers here too."),
) -> None:
    """Time each way against torch."""
    known = list(dict.fromkeys(chain.from_iterable(WAYS.values())))
    requested, names = [one for one in ways.split(",") if one] or known, parts.split(",")
    unknown = [one for one in requested if one not in known] + [one for one in names if one not in WAYS]
    if unknown or dtype not in DTYPES:
        raise typer.BadParameter(f"{(unknown or [dtype])[0]!r}: there are {', '.join((*WAYS, *known, *DTYPES))}")
    torch.set_num_threads(1)
    best, rows, spent = rate_of_products(DTYPES[dtype]), [], {}
    print(f"{torch.backends.cpu.get_cpu_capability()}, {dtype}: a product of matrices reaches {best / 1e9:.0f} GFLOP/s")
    with torch.no_grad():
        for part in parts_of(model, size, DTYPES[dtype], not tiny):
            if part.name not in names:
                continue
            spent[part.name] = shares(prepare("torch", part))
            told = ", ".join(f"{name} {share:.0%}" for name, share in spent[part.name].items())
            print(f"{part.name}: {told}", flush=True)
            for way in (one for one in WAYS[part.name] if one in requested):
                rows.append(measure(part, way, rounds))
                print(f"{part.name} by {way}: {rows[-1]['faster']:.2f} times faster", flush=True)
    show(rows, best)
    if json_file:
        numbers = {"model": model, "size": size, "dtype": dtype, "product": best, "shares": spent, "rows": rows}
        json_file.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
