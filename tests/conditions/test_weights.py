"""Weight files: which of a folder's are read, and a remedy that works for those that are not."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from shiftless.conditions.weights import DIFFUSERS, TRANSFORMERS, converted, find_weights
from shiftless.errors import BadInput

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, 2)}


def put(folder, *names):
    for name in names:
        save_file(TENSORS, folder / name)


def sharded(folder, stem, variant="", parts=2):
    """Split two tensors over two files, as the libraries do."""
    dotted = f".{variant}" if variant else ""
    names = [f"{stem}{dotted}-{i:05}-of-{parts:05}.safetensors" for i in range(1, parts + 1)]
    for name, key in zip(names, TENSORS):
        save_file({key: TENSORS[key]}, folder / name)
    index = {"metadata": {"total_size": 32}, "weight_map": dict(zip(TENSORS, names))}
    (folder / f"{stem}.safetensors.index{dotted}.json").write_text(json.dumps(index))
    return names


def names_of(weights):
    return sorted(file.name for file in weights.files)


def run_here(command):
    """Run a command "cd FOLDER && python -c CODE" in this process: a new one takes seconds to import torch."""
    cd, folder, then, python, flag, code = shlex.split(command)
    assert (cd, then, python, flag) == ("cd", "&&", "python", "-c")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "the command", "exec"), {"__name__": "__main__"})


def says(folder, stem=TRANSFORMERS, **more):
    with pytest.raises(BadInput) as caught:
        find_weights(folder, stem, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("there", "taken", "variant"),
    [
        (["model.safetensors"], "model.safetensors", None),
        (["model.fp16.safetensors", "model.safetensors", "model.non_ema.safetensors"], "model.safetensors", None),
        (["model.non_ema.safetensors", "model.fp16.safetensors"], "model.fp16.safetensors", "fp16"),
        (["model.bf16.safetensors", "model.safetensor"], "model.bf16.safetensors", "bf16"),
    ],
)
def test_the_usual_weights_are_taken_before_half_precision_and_never_others(tmp_path, there, taken, variant):
    put(tmp_path, *there)
    result = find_weights(tmp_path, TRANSFORMERS)
    assert (names_of(result), result.variant) == ([taken], variant)


@pytest.mark.parametrize("variant", ["", "fp16"])
def test_weights_in_parts_are_taken_whole_or_not(tmp_path, variant):
    names = sharded(tmp_path, DIFFUSERS, variant)
    result = find_weights(tmp_path, DIFFUSERS)
    index = f"diffusion_pytorch_model.safetensors.index{'.' + variant if variant else ''}.json"
    assert (names_of(result), result.variant) == (sorted([*names, index]), variant or None)
    (tmp_path / names[1]).unlink()
    assert f"1 of 2 parts are missing ({names[1]}); copy or save the whole model again" in says(tmp_path, DIFFUSERS)


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "[" * 100000,
              '{"weight_map": {"a": "../other/model.safetensors"}}', '{"weight_map": {"a": "/model.safetensors"}}',
              '{"weight_map": {"a": "model.bin"}}'],
)  # fmt: skip
def test_an_index_that_is_none_is_one_line(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "index.json: not an index of safetensors files" in says(tmp_path)


def test_weights_of_another_kind_are_not_taken_for_the_usual_ones(tmp_path):
    put(tmp_path, "model.non_ema.safetensors")
    assert "holds model.non_ema.safetensors and no model.safetensors; put model.safetensors there" in says(tmp_path)


def test_pointers_of_git_lfs_are_told_from_weights(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert "model.safetensors: a pointer of git-lfs, not the weights; run: git lfs pull" in says(tmp_path)


def test_a_folder_of_the_hubs_cache_is_fetched_again(tmp_path):
    folder = tmp_path / "models--some--net" / "snapshots" / "0123" / "unet"
    folder.mkdir(parents=True)
    assert "fetch the rest with: shiftless fetch some/net" in says(folder)
    put(folder, "model.non_ema.safetensors")
    assert "no model.safetensors; fetch the rest with: shiftless fetch some/net" in says(folder)


@pytest.mark.parametrize(
    ("stem", "pickles", "target"),
    [
        (TRANSFORMERS, ["pytorch_model.bin"], "model.safetensors"),
        (DIFFUSERS, ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"], f"{DIFFUSERS}.safetensors"),
        (DIFFUSERS, ["diffusion_pytorch_model.fp16.bin"], f"{DIFFUSERS}.fp16.safetensors"),
        (TRANSFORMERS, ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"], "model.safetensors"),
    ],
)
def test_the_command_that_converts_a_pickle_works(tmp_path, stem, pickles, target):
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    keys = list(TENSORS)
    for number, name in enumerate(pickles):
        held = {keys[number]: TENSORS[keys[number]].T} if "-of-" in name else {k: v.T for k, v in TENSORS.items()}
        torch.save(held, folder / name)
    line = says(folder, stem)
    assert f"no {stem}.safetensors, but {pickles[0]}, a pickle, which is never opened here" in line
    command = line.partition("without running code from it: ")[2]
    if stem == TRANSFORMERS and len(pickles) == 1:  # one of them in a shell
        command = command.replace("python", shlex.quote(sys.executable), 1)
        subprocess.run(command, shell=True, check=True, capture_output=True)
    else:
        run_here(command)
    assert find_weights(folder, stem).files == (folder / target,)
    saved = load_file(folder / target)
    assert saved.keys() == TENSORS.keys()
    assert all(torch.equal(saved[key], TENSORS[key].T) for key in keys)


def test_the_command_runs_no_code_of_a_pickle(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"a": Evil()}, tmp_path / "pytorch_model.bin")
    command = says(tmp_path).partition("without running code from it: ")[2].replace("python", sys.executable, 1)
    completed = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert completed.returncode != 0
    assert "weights_only" in completed.stderr.lower()
    assert not (tmp_path / "executed").exists()


def test_a_single_file_checkpoint_says_how_a_folder_is_made_of_it(tmp_path):
    put(tmp_path, "control_v11p.safetensors")
    line = says(tmp_path, DIFFUSERS, loader="ControlNetModel")
    assert line == converted(tmp_path / "control_v11p.safetensors", "ControlNetModel")
    code = shlex.split(line.partition("python -c ")[2])[0]
    place = str(tmp_path / "control_v11p")
    assert code == f'import diffusers; diffusers.ControlNetModel.from_single_file("{place}.safetensors")' + (
        f'.save_pretrained("{place}")'
    )
    compile(code, "command", "exec")
