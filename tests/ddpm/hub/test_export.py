"""Folders that were saved without their code get it, and nothing else of them changes."""

import json

import pytest
import torch

import ddpm
from ddpm.models import ClassifierConfig
from ddpm.models.code_files import auto_map, code_files

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}


@pytest.mark.parametrize(
    "model",
    [ddpm.UNet(ddpm.UNetConfig(**SIZES)), ddpm.NoisyClassifier(ClassifierConfig(**SIZES))],
    ids=["unet", "classifier"],
)
def test_an_older_folder_gets_its_code(model, tmp_path):
    model.save_pretrained(tmp_path)
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.glob("*.py"):
        path.unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("auto_map") == auto_map(type(model))
    (tmp_path / "config.json").write_text(json.dumps(config))
    ddpm.export_code(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == saved
    assert code_files(type(model)).keys() <= saved.keys()


def test_of_a_model_in_memory_the_configuration_alone_is_changed(tmp_path):
    model = ddpm.UNet(ddpm.UNetConfig(**SIZES))
    ddpm.export_code(model)
    assert model.config.auto_map == auto_map(type(model))
    with pytest.raises(ValueError, match="got a Linear; expected a network of this package"):
        ddpm.export_code(torch.nn.Linear(1, 1))


def test_what_is_no_image_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json; expected a folder"):
        ddpm.export_code(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="type 'bert'; expected one of ddpm_unet, ddpm_classifier"):
        ddpm.export_code(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
