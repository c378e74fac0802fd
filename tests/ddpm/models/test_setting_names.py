"""Misspelt settings are errors; those of a file that nobody knows are left out with a warning."""

import json

import pytest

from ddpm import NoisyClassifier, UNetConfig
from ddpm.models import ClassifierConfig

CONFIGS = [UNetConfig, ClassifierConfig]


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("name", ["num_head_channel", "rescale_residuals", "modelchannels", "x"])
def test_a_misspelt_setting_is_refused_in_a_call(config_class, name, tmp_path):
    with pytest.raises(ValueError, match=name):
        config_class(**{name: 64})
    config_class().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=name):
        config_class.from_pretrained(tmp_path, **{name: 64})


def test_a_preset_takes_known_settings_only():
    assert UNetConfig.preset("64x64_diffusion", dropout=0.25).dropout == 0.25
    with pytest.raises(ValueError, match=r"drop_out.*dropout"):
        UNetConfig.preset("64x64_diffusion", drop_out=0.25)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_file_may_hold_more_which_is_said(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "of_another_version": 1}))
    with pytest.warns(UserWarning, match="of_another_version"):
        config = config_class.from_pretrained(tmp_path)
    assert not hasattr(config, "of_another_version")


@pytest.mark.parametrize("config_class", CONFIGS)
def test_settings_of_transformers_are_known(config_class):
    common = {"id2label": {0: "a", 1: "b"}, "dtype": "float32", "attn_implementation": "eager"}
    config = config_class(**common, output_hidden_states=False, num_classes=2)
    assert config.num_labels == 2 and config_class(**config.to_dict()).to_dict() == config.to_dict()


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_file_chooses_no_kernel_of_others(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    for name in ("attn_implementation", "_attn_implementation"):
        file.write_text(json.dumps({**json.loads(file.read_text()), name: "someone/kernel"}))
        with pytest.raises(ValueError, match="someone/kernel"):
            config_class.from_pretrained(tmp_path)
    assert NoisyClassifier.config_class is ClassifierConfig
