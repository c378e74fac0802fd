"""Configurations: sizes that do not fit are refused, files keep them, presets can be changed."""

import pytest
import torch

from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.presets import PRESETS
from ddpm.schedules import cosine_schedule


@pytest.mark.parametrize("config_class", [UNetConfig, ClassifierConfig])
def test_round_trip_through_a_file(tmp_path, config_class):
    for name in PRESETS[config_class.model_type]:
        config = config_class.preset(name)
        config.save_pretrained(tmp_path)
        loaded = config_class.from_pretrained(tmp_path)
        assert loaded.to_dict() == config.to_dict()
        assert loaded.channel_mult == config.channel_mult and loaded.widths == config.widths


def test_widths_and_resolutions():
    config = UNetConfig.preset("512x512_diffusion")
    assert config.widths == (128, 256, 256, 512, 512, 1024, 1024)
    assert config.resolutions == (512, 256, 128, 64, 32, 16, 8)
    assert (config.out_channels, config.heads_of(1024)) == (6, 16)
    assert UNetConfig(in_channels=1).out_channels == 2
    assert UNetConfig(in_channels=1, learn_sigma=False).out_channels == 1


def test_a_preset_with_changes():
    config = UNetConfig.preset("64x64_diffusion", num_classes=10, null_class=True)
    assert (config.model_channels, config.num_classes, config.null_class) == (192, 10, True)
    with pytest.raises(ValueError, match=r"preset is '64x64'; expected one of 64x64_diffusion"):
        UNetConfig.preset("64x64")
    with pytest.raises(ValueError, match=r"expected one of 64x64_classifier"):
        ClassifierConfig.preset("64x64_diffusion")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        (
            {"image_size": 30, "attention_resolutions": ()},
            "image_size is 30; expected a multiple of .* = 8",
        ),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"num_res_blocks": 0}, "num_res_blocks is 0"),
        ({"model_channels": 33}, "model_channels is 33; expected an even number"),
        (
            {"model_channels": 48},
            "norm_num_groups is 32; expected a divisor of every width .* of 48",
        ),
        ({"model_channels": 32, "channel_mult": (0.5, 1)}, "of 16"),
        ({"model_channels": 32, "channel_mult": (1.03, 1)}, "whole widths"),
        ({"channel_mult": (1, 0)}, "whole widths"),
        ({"channel_mult": (), "attention_resolutions": ()}, "one factor a level"),
        (
            {"attention_resolutions": (16, 12)},
            r"attention_resolutions is \(16, 12\); .*\(32, 16, 8, 4\)",
        ),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": 3}, "num_heads is 3; expected a divisor of the width 256"),
        ({"num_head_channels": 48}, "num_head_channels is 48; expected a divisor"),
        ({"num_head_channels": 0}, "num_head_channels is 0"),
        ({"attention_order": "old"}, "attention_order is 'old'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"norm_num_groups": 0}, "norm_num_groups is 0"),
    ],
)
@pytest.mark.parametrize("config_class", [UNetConfig, ClassifierConfig])
def test_sizes_that_do_not_fit_are_refused(config_class, sizes, message):
    with pytest.raises(ValueError, match=message):
        config_class(**sizes)


def test_classes_that_do_not_fit_are_refused():
    for config_class in (UNetConfig, ClassifierConfig):
        with pytest.raises(ValueError, match="num_classes is 0"):
            config_class(num_classes=0)
    with pytest.raises(ValueError, match="null_class is True"):
        UNetConfig(null_class=True)


@pytest.mark.parametrize(
    "sizes", [{"image_size": "32"}, {"dropout": "no"}, {"learn_sigma": 3}, {"num_classes": 1.5}]
)
def test_types_are_checked(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        UNetConfig(**sizes)


@pytest.mark.parametrize(("width", "groups"), [(32, 32), (48, 16), (64, 32), (2, 1)])
def test_small_widths_work(width, groups):
    sizes = {"image_size": 7, "channel_mult": (1,), "attention_resolutions": (7,), "num_heads": 1}
    assert UNetConfig(model_channels=width, norm_num_groups=groups, **sizes).widths == (width,)


def test_betas_survive_a_file_bit_for_bit(tmp_path):
    betas = cosine_schedule(1000)
    ClassifierConfig(betas=betas.tolist()).save_pretrained(tmp_path)
    loaded = ClassifierConfig.from_pretrained(tmp_path).betas
    assert torch.equal(torch.tensor(loaded, dtype=torch.float64), betas)
    assert ClassifierConfig().betas is None
    for wrong in ([], [0.1, 1.5], [0.0]):
        with pytest.raises(ValueError, match=r"betas is .*; expected numbers in \(0, 1\]"):
            ClassifierConfig(betas=wrong)


def test_classes_are_counted_once():
    """num_labels of transformers is num_classes, and each has one name."""
    config = ClassifierConfig(num_classes=3, id2label={"0": "a", "1": "b", "2": "c"})
    assert (config.num_labels, config.id2label) == (3, {0: "a", 1: "b", 2: "c"})
    assert config.label2id == {"a": 0, "b": 1, "c": 2}
    assert (ClassifierConfig().num_labels, ClassifierConfig(num_labels=1000).num_classes) == (
        1000,
        1000,
    )
    unnamed = ClassifierConfig(num_classes=3).to_dict()
    assert ClassifierConfig(**(unnamed | {"num_classes": 5})).num_labels == 5  # no names to lose
    with pytest.raises(ValueError, match="num_labels is 4; expected num_classes, which is 3"):
        ClassifierConfig(num_classes=3, num_labels=4)
    with pytest.raises(
        ValueError, match=r"id2label is \[0, 2\]; expected a name of each of 0\.\.1"
    ):
        ClassifierConfig(num_classes=2, id2label={0: "a", 2: "c"})
    config.num_labels = 3  # as it is
    assert config.class_names == ["a", "b", "c"]
    config.num_labels = 4
    assert config.num_classes == len(config.id2label) == len(config.label2id) == 4
    assert config.class_names is None and config.label_names[3] == "LABEL_3"
    assert ClassifierConfig(num_labels=7).num_classes == 7
