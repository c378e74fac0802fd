"""What is saved comes back to the bit, with its code, whole or in shards, whatever the dtype."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, modeling_utils
from transformers.utils import hub

from ddpm import GaussianDiffusion, NoisyClassifier, UNet, UNetConfig, linear_schedule
from ddpm.models.code_files import auto_map, code_files

NETWORKS = {
    "unconditional": (UNet, {}),
    "fixed variance": (UNet, {"learn_sigma": False}),
    "classes": (UNet, {"num_classes": 3, "null_class": True}),
    "upsampler": (UNet, {"low_resolution": 4, "noise_augmentation": True}),
    "classifier": (NoisyClassifier, {"num_classes": 3}),
    "spatial": (NoisyClassifier, {"num_classes": 3, "pool": "spatial"}),
}


@pytest.fixture(scope="module")
def made(sizes, randomise):
    def make(model_class, changes):
        return randomise(model_class(model_class.config_class(**sizes(**changes))))

    return make


@torch.no_grad()
def predictions(model):
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 2, 8, 8, generator=generator), torch.tensor([3, 40])
    given = {}
    if getattr(model.config, "null_class", False):
        given["labels"] = torch.tensor([2, 0])
    if getattr(model.config, "low_resolution", None):
        given["low_res"] = torch.randn(2, 2, 4, 4, generator=generator)
    return model(x, t, **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kind", NETWORKS)
def test_predictions_come_back_to_the_bit(made, tmp_path, kind, dtype):
    model = made(*NETWORKS[kind]).to(dtype)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    expected = predictions(model)
    for folder in ("whole", "shards"):
        for options in ({"dtype": "auto"}, {"dtype": dtype}, {"device_map": "cpu", "dtype": dtype}):
            loaded = AutoModel.from_pretrained(tmp_path / folder, **options)
            assert type(loaded) is type(model) and loaded.dtype == dtype
            assert torch.equal(predictions(loaded), expected)


@pytest.mark.parametrize("kind", ["classes", "classifier"])
def test_a_saved_folder_has_the_code_and_says_where(made, tmp_path, kind):
    model = made(*NETWORKS[kind])
    model.save_pretrained(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.py")}
    assert written == code_files(type(model))
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == auto_map(type(model))


def test_with_the_package_no_code_of_the_folder_runs(made, tmp_path):
    model = made(*NETWORKS["classes"])
    model.save_pretrained(tmp_path)
    for path in tmp_path.glob("*.py"):
        path.write_text("raise AssertionError('it ran')\n")
    for options in ({}, {"trust_remote_code": True}, {"trust_remote_code": False}):
        assert type(AutoModel.from_pretrained(tmp_path, **options)) is UNet


def test_a_model_of_the_hub_is_saved_as_one_of_its_own(made, tmp_path):
    model = made(*NETWORKS["classes"])
    model.config.auto_map = {"AutoModel": "them/theirs--unet.UNet"}
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == auto_map(UNet)


def test_other_processes_write_nothing(made, tmp_path):
    made(*NETWORKS["classes"]).save_pretrained(tmp_path / "x", is_main_process=False)
    assert not list((tmp_path / "x").glob("*.py"))


def test_a_file_is_no_folder(made, tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        made(*NETWORKS["classes"]).save_pretrained(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


class Hub:
    """Takes uploads; of transformers' uses of the Hub's API only what these tests reach."""

    def __init__(self):
        self.files = {}

    def create_repo(self, repo_id, **options):
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, repo_id, operations, **options):
        self.files |= {each.path_in_repo: each.path_or_fileobj for each in operations}


@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
def test_code_and_diffusion_are_uploaded(sizes, tmp_path, monkeypatch, way):
    server = Hub()
    card = SimpleNamespace(save=lambda path: None)
    for module in (hub, modeling_utils):
        monkeypatch.setattr(module, "hf_api", lambda: server)
        monkeypatch.setattr(module, "create_and_tag_model_card", lambda *args, **given: card)
    model = UNet(UNetConfig(**sizes()))
    model.diffusion = GaussianDiffusion(linear_schedule(50))
    if way == "push_to_hub":
        model.push_to_hub("me/net")
    else:
        for _ in range(2):  # also where all lies there already
            server.files.clear()
            model.save_pretrained(tmp_path / "net", push_to_hub=True)
    expected = {"config.json", "model.safetensors", "diffusion_config.json", *code_files(UNet)}
    assert expected <= set(server.files)
