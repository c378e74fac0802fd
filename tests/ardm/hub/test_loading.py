"""A folder that is not whole, or not of one model, is one error in one line, whatever is wrong."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ardm.data.tokenization import build_tokenizer
from ardm.hub import CardFigures, load_folder, save_folder

TOKENIZER = build_tokenizer("char", "abc ")
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


@pytest.fixture(scope="module")
def saved(tiny_model, tmp_path_factory):
    ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    model = tiny_model(vocab_size=len(TOKENIZER), **ids)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_folder(folder, model, TOKENIZER, CardFigures())
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def other_kind(path):
    path.write_text("[1, 2]")


def settings(**changes):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    change.__name__ = str(changes)
    return change


def weights(name, change):
    def changed(path):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    changed.__name__ = name
    return changed


def pop_head(tensors):
    del tensors["lm_head.weight"]


def nan(tensors):
    tensors["lm_head.weight"].view(-1)[3] = torch.nan


def infinite(tensors):
    tensors["model.norm.weight"][-1] = torch.inf


DAMAGES = [(name, damage) for name in FILES for damage in (cut, empty, zeros, other_kind)]
DAMAGES += [(name, Path.unlink) for name in FILES if name != "generation_config.json"]
DAMAGES += [
    ("config.json", settings(hidden_size="wide")),
    ("config.json", settings(hidden_size=16)),
    ("config.json", settings(vocab_size=5)),
    ("config.json", settings(vocab_size=300)),
    ("config.json", settings(num_hidden_layers=1)),
    ("config.json", settings(num_hidden_layers=3)),
    ("config.json", settings(mask_token_id=0)),
    ("config.json", settings(pad_token_id=0)),
    ("config.json", settings(model_type="bert")),
    ("config.json", settings(model_type="ddpm_unet")),
    ("generation_config.json", settings(temperature=-1.0)),
    ("generation_config.json", settings(per_step_losses=["a"])),
    ("tokenizer_config.json", settings(mask_token="a")),
    ("tokenizer_config.json", settings(mask_token=None)),
    ("tokenizer_config.json", settings(pad_token="[NEW]")),
    ("model.safetensors", weights("without its head", pop_head)),
    ("model.safetensors", weights("of more", lambda tensors: tensors.update(x=torch.ones(2)))),
    ("model.safetensors", weights("not a number", nan)),
    ("model.safetensors", weights("infinite", infinite)),
]


@pytest.mark.parametrize(
    ("name", "damage"), DAMAGES, ids=[f"{name}: {damage.__name__}" for name, damage in DAMAGES]
)
def test_damage_is_an_error_of_one_line_that_names_the_folder(folder, name, damage):
    damage(folder / name)
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert message.startswith("no model can be loaded from ") and "\n" not in message
    assert len(message) < 350 + len(str(folder))


def test_a_whole_folder_loads_and_needs_no_generation_config(folder):
    (folder / "generation_config.json").unlink()
    model, tokenizer = load_folder(folder)
    assert tokenizer("cab").input_ids == TOKENIZER("cab").input_ids
    assert not model.training


@pytest.mark.parametrize(
    ("kind", "loader", "command"),
    [
        ("ddpm_unet", "load_folder", "sample_ddpm.py"),
        ("ddpm_classifier", "load_classifier", "sample_ddpm.py --classifier"),
    ],
)
def test_an_image_model_is_called_one_with_what_loads_it(folder, kind, loader, command):
    settings(model_type=kind)(folder / "config.json")
    told = (
        rf"type '{kind}', expected .* text; load it with ddpm\.hub\.{loader}, as recipes/{command}"
    )
    with pytest.raises(ValueError, match=told):
        load_folder(folder)


def test_a_model_of_pixels_is_called_one_with_what_loads_it(folder):
    (folder / "images.json").write_text("{}")
    with pytest.raises(ValueError, match=r"load_image_folder, as recipes/train_ardm_pixels\.py "):
        load_folder(folder)
