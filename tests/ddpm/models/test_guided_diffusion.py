"""Released checkpoints: names, shapes and sizes of all of them, round trips, and what is refused.

The weights themselves are not here. What they must look like is generated below from the flags with
which they were published; what they must compute is in test_unet_parity.py.
"""

import math

import pytest
import torch

from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.unet import UNet

POOLS = ("attention", "adaptive", "spatial", "spatial_v2")
# of "64x64_classifier", whose last map has 512 channels and all of them together 128 (stem)
# + 5 * 128 + 5 * 256 + 5 * 384 + 4 * 512 (blocks) + 512 (middle) = 6528
POOLED = [
    ("attention", 307, 1024 + 512 * 65 + 513 * 3 * 512 + 513 * 1000),
    ("adaptive", 304, 1024 + 513 * 1000),
    ("spatial", 304, 6529 * 2048 + 2049 * 1000),
    ("spatial_v2", 306, 6529 * 2048 + 2 * 2048 + 2049 * 1000),
]
MULT = {
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}
# name: (size, width, residual blocks, classes), (tensors, millions of parameters)
# arXiv 2105.05233, tables 11 and 12
UNETS = {
    "64x64_diffusion": ((64, 192, 3, 1000), (541, 295.90)),
    "128x128_diffusion": ((128, 256, 2, 1000), (493, 421.53)),
    "256x256_diffusion": ((256, 256, 2, 1000), (567, 553.84)),
    "256x256_diffusion_uncond": ((256, 256, 2, None), (566, 552.81)),
    "512x512_diffusion": ((512, 256, 2, 1000), (645, 559.00)),
    "lsun_bedroom": ((256, 256, 2, None), (566, 552.81)),
    "lsun_cat": ((256, 256, 2, None), (566, 552.81)),
    "lsun_horse": ((256, 256, 2, None), (566, 552.81)),
    "lsun_horse_nodropout": ((256, 256, 2, None), (566, 552.81)),
}
# the same, with attention and the heads of 384 channels behind the first four
# section 4.4 of the same paper: 312 and 309 millions
UPSAMPLERS = {
    "64_256_upsampler": ((256, 192, 2, 1000), (32, 16, 8), 4, (567, 311.80)),
    "128_512_upsampler": ((512, 192, 2, 1000), (32, 16), 6, (537, 308.84)),
}
CLASSIFIERS = {
    "64x64_classifier": ((64, 128, 4, 1000), (307, 65.44)),
    "128x128_classifier": ((128, 128, 2, 1000), (221, 42.57)),
    "256x256_classifier": ((256, 128, 2, 1000), (249, 54.10)),
    "512x512_classifier": ((512, 128, 2, 1000), (281, 54.45)),
}
VARIANTS = [
    {},
    {"attention_order": "legacy"},
    {
        "num_head_channels": 4,
        "channel_mult": (0.5, 1, 2),
        "attention_resolutions": (8, 2),
        "num_res_blocks": 2,
    },
    {"resblock_updown": False},
    {"resblock_updown": False, "conv_resample": False},
    {"use_scale_shift_norm": False},
    {
        "image_size": 12,
        "in_channels": 1,
        "channel_mult": (1, 1, 3),
        "attention_resolutions": (),
        "num_res_blocks": 3,
    },
    {"channel_mult": (2,), "attention_resolutions": (8,)},
]
CLASS_VARIANTS = [
    {"learn_sigma": False},
    {},
    {"num_classes": 5, "learn_sigma": False},
    {"num_classes": 5},
    {"low_resolution": 3},
]


class Table(dict):
    """Name -> shape of every tensor in a released file, block by block from the flags alone."""

    def __init__(self, width, scale_shift=True, updown=True, conv_resample=True):
        self.embedding, self.scale_shift = 4 * width, scale_shift
        self.updown = updown
        self.conv_resample = conv_resample
        self.layer("time_embed.0", self.embedding, width)
        self.layer("time_embed.2", self.embedding, self.embedding)

    def layer(self, name, out, *rest):
        self[f"{name}.weight"] = (out, *rest)
        self[f"{name}.bias"] = (out,)

    def residual(self, name, width, out):
        self.layer(f"{name}.in_layers.0", width)
        self.layer(f"{name}.in_layers.2", out, width, 3, 3)
        self.layer(f"{name}.emb_layers.1", out * (1 + self.scale_shift), self.embedding)
        self.layer(f"{name}.out_layers.0", out)
        self.layer(f"{name}.out_layers.3", out, out, 3, 3)
        if width != out:
            self.layer(f"{name}.skip_connection", out, width, 1, 1)

    def attention(self, name, width):
        self.layer(f"{name}.norm", width)
        self.layer(f"{name}.qkv", 3 * width, width, 1)
        self.layer(f"{name}.proj_out", width, width, 1)

    def resampling(self, name, width, layer):
        if self.updown:
            self.residual(name, width, width)
        elif self.conv_resample:
            self.layer(f"{name}.{layer}", width, width, 3, 3)

    def encoder(self, size, channels, widths, depth, attended):
        self.layer("input_blocks.0.0", widths[0], channels, 3, 3)
        width = widths[0]
        number = 1
        skips = [width]
        for level, out in enumerate(widths):
            for _ in range(depth):
                self.residual(f"input_blocks.{number}.0", width, out)
                if size // 2**level in attended:
                    self.attention(f"input_blocks.{number}.1", out)
                width = out
                number += 1
                skips.append(width)
            if level < len(widths) - 1:
                self.resampling(f"input_blocks.{number}.0", width, "op")
                number += 1
                skips.append(width)
        self.residual("middle_block.0", width, width)
        self.attention("middle_block.1", width)
        self.residual("middle_block.2", width, width)
        return width, skips

    def decoder(self, size, widths, depth, attended, skips):
        width = widths[-1]
        number = 0
        for level in range(len(widths) - 1, -1, -1):
            for block in range(depth + 1):
                self.residual(f"output_blocks.{number}.0", width + skips.pop(), widths[level])
                width = widths[level]
                attention = size // 2**level in attended
                if attention:
                    self.attention(f"output_blocks.{number}.1", width)
                if level and block == depth:
                    self.resampling(f"output_blocks.{number}.{1 + attention}", width, "conv")
                number += 1
        self.layer("out.0", width)
        return width


def unet_table(
    size, width, depth, classes, mult, channels=3, out_channels=6, attended=(32, 16, 8), **flags
):
    table = Table(width, **flags)
    widths = [int(m * width) for m in mult]
    if classes is not None:
        table["label_emb.weight"] = (classes, 4 * width)
    _, skips = table.encoder(size, channels, widths, depth, attended)
    last = table.decoder(size, widths, depth, attended, skips)
    table.layer("out.2", out_channels, last, 3, 3)
    return table


def classifier_table(
    size,
    width,
    depth,
    classes,
    mult,
    channels=3,
    attended=(32, 16, 8),
    pool="attention",
    **flags,
):
    table = Table(width, **flags)
    widths = [int(m * width) for m in mult]
    last, skips = table.encoder(size, channels, widths, depth, attended)
    if pool == "attention":
        table.layer("out.0", last)
        table["out.2.positional_embedding"] = (last, (size // 2 ** (len(mult) - 1)) ** 2 + 1)
        table.layer("out.2.qkv_proj", 3 * last, last, 1)
        table.layer("out.2.c_proj", classes, last, 1)
    elif pool == "adaptive":
        table.layer("out.0", last)
        table.layer("out.3", classes, last, 1, 1)
    else:
        table.layer("out.0", 2048, sum(skips) + last)
        if pool == "spatial_v2":
            table.layer("out.1", 2048)
        table.layer("out.3" if pool == "spatial_v2" else "out.2", classes, 2048)
    return table


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.to_guided_diffusion().items()}


def flags_of(config):
    return {
        "size": config.image_size,
        "width": config.model_channels,
        "depth": config.num_res_blocks,
        "classes": config.num_classes,
        "mult": config.channel_mult,
        "channels": getattr(config, "stem_channels", config.in_channels),
        "attended": config.attention_resolutions,
        "scale_shift": config.use_scale_shift_norm,
        "updown": config.resblock_updown,
        "conv_resample": config.conv_resample,
    }


# ------------------------------------------------------------------------------- the released files
@pytest.mark.parametrize("name", UNETS)
def test_released_unets_have_these_tensors(name):
    (size, width, depth, classes), (num_tensors, millions) = UNETS[name]
    with torch.device("meta"):
        model = UNet(UNetConfig.preset(name))
    table = shapes(model)
    assert table == unet_table(size, width, depth, classes, MULT[size])
    assert len(table) == num_tensors
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_released_upsamplers_have_these_tensors(name):
    (size, width, depth, classes), attended, heads, (num_tensors, millions) = UPSAMPLERS[name]
    config = UNetConfig.preset(name)
    assert name == f"{config.low_resolution}_{size}_upsampler"
    assert config.heads_of(384) == heads and config.attention_order == "legacy"
    with torch.device("meta"):
        model = UNet(config)
    table = shapes(model)
    flags = {"channels": 6, "attended": attended}  # x beside the small image
    assert table == unet_table(size, width, depth, classes, (1, 1, 2, 2, 4, 4), **flags)
    assert len(table) == num_tensors
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


def test_a_network_that_is_told_noise_levels_has_no_released_form(sizes):
    model = UNet(UNetConfig(**sizes(low_resolution=4, noise_augmentation=True)))
    with pytest.raises(ValueError, match="noise_augmentation"):
        model.to_guided_diffusion()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_released_classifiers_have_these_tensors(name):
    (size, width, depth, classes), (num_tensors, millions) = CLASSIFIERS[name]
    with torch.device("meta"):
        model = NoisyClassifier(ClassifierConfig.preset(name))
    table = shapes(model)
    assert table == classifier_table(size, width, depth, classes, MULT[size])
    assert len(table) == num_tensors
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("classes", CLASS_VARIANTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_unet_has_the_grammar(sizes, variant, classes):
    config = UNetConfig(**sizes(**variant, **classes))
    assert shapes(UNet(config)) == unet_table(**flags_of(config), out_channels=config.out_channels)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_classifier_has_the_grammar(sizes, variant, pool):
    config = ClassifierConfig(**sizes(**variant), num_classes=7, pool=pool)
    assert shapes(NoisyClassifier(config)) == classifier_table(**flags_of(config), pool=pool)


@pytest.mark.parametrize(("pool", "num_tensors", "num_parameters"), POOLED)
def test_a_released_encoder_with_another_pool_has_these_tensors(pool, num_tensors, num_parameters):
    with torch.device("meta"):
        model = NoisyClassifier(ClassifierConfig.preset("64x64_classifier", pool=pool))
    table = shapes(model)
    assert table == classifier_table(64, 128, 4, 1000, MULT[64], pool=pool)
    without = sum(math.prod(shape) for name, shape in table.items() if not name.startswith("out."))
    assert (len(table), model.num_parameters() - without) == (num_tensors, num_parameters)


def test_attention_order_and_heads_of_the_presets():
    new = [name for name in UNETS if UNetConfig.preset(name).attention_order == "new"]
    assert new == ["64x64_diffusion"]
    assert all(ClassifierConfig.preset(name).attention_order == "legacy" for name in CLASSIFIERS)
    assert [UNetConfig.preset("128x128_diffusion").heads_of(width) for width in (512, 1024)] == [
        4,
        4,
    ]
    assert [UNetConfig.preset("256x256_diffusion").heads_of(width) for width in (512, 1024)] == [
        8,
        16,
    ]
    dropout = {
        name: UNetConfig.preset(name).dropout for name in UNETS if UNetConfig.preset(name).dropout
    }
    assert dropout == dict.fromkeys(
        ("64x64_diffusion", "lsun_bedroom", "lsun_cat", "lsun_horse"), 0.1
    )


# -------------------------------------------------------------------------------------- round trips
@pytest.mark.slow
@pytest.mark.parametrize("classes", CLASS_VARIANTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_unet_round_trip_from_a_random_file(sizes, tmp_path, variant, classes):
    config = UNetConfig(**sizes(**variant, **classes))
    table = unet_table(**flags_of(config), out_channels=config.out_channels)
    state = {name: torch.randn(shape) for name, shape in table.items()}
    torch.save(state, tmp_path / "in.pt")
    model = UNet.from_guided_diffusion(tmp_path / "in.pt", config)
    assert not model.training
    model.to_guided_diffusion(tmp_path / "out.pt")
    written = torch.load(tmp_path / "out.pt", weights_only=True)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "out.pt"]


@pytest.mark.parametrize(
    ("variant", "pool"),
    [(variant, "attention") for variant in VARIANTS] + [({}, pool) for pool in POOLS],
)
def test_classifier_round_trip_from_a_random_file(sizes, tmp_path, variant, pool):
    config = ClassifierConfig(**sizes(**variant), num_classes=7, pool=pool)
    table = classifier_table(**flags_of(config), pool=pool)
    state = {name: torch.randn(shape) for name, shape in table.items()}
    # as files were written before PyTorch 1.6
    torch.save(state, tmp_path / "in.pt", _use_new_zipfile_serialization=False)
    written = NoisyClassifier.from_guided_diffusion(
        tmp_path / "in.pt", preset=config
    ).to_guided_diffusion()
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)


def test_a_file_of_something_else(sizes, tmp_path):
    for content in (b"# A text", b"", b"PK\x03\x04 no archive"):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(ValueError, match="is no file of tensors"):
            UNet.from_guided_diffusion(tmp_path / "model.pt", UNetConfig(**sizes()))


def test_loading_does_not_keep_the_file(sizes, randomise, tmp_path):
    model = randomise(UNet(UNetConfig(**sizes())))
    state = model.to_guided_diffusion(tmp_path / "model.pt")
    loaded = UNet.from_guided_diffusion(tmp_path / "model.pt", model.config)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "model.pt")
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter)
        assert loaded.get_parameter(name).requires_grad


def test_a_failed_write_leaves_the_old_file(sizes, tmp_path, monkeypatch):
    model = UNet(UNetConfig(**sizes()))
    (tmp_path / "model.pt").write_bytes(b"old")
    monkeypatch.setattr(torch, "save", lambda content, file: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        model.to_guided_diffusion(tmp_path / "model.pt")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.pt", b"old")]


def test_a_file_that_does_not_fit_its_preset_says_what_differs(sizes, tmp_path):
    config = UNetConfig(**sizes(), num_classes=5)
    path = tmp_path / "model.pt"
    state = UNet(config).to_guided_diffusion(path)

    def complaint(config):
        with pytest.raises(ValueError, match="does not fit") as error:
            UNet.from_guided_diffusion(path, config)
        return str(error.value)

    assert "1 unexpected (label_emb.weight)" in complaint(UNetConfig(**sizes()))
    assert "1 of another shape (label_emb.weight (5, 32) for (6, 32))" in complaint(
        UNetConfig(**sizes(), num_classes=6)
    )
    assert "(out.2.weight (4, 8, 3, 3) for (2, 8, 3, 3), out.2.bias (4,) for (2,))" in complaint(
        UNetConfig(**sizes(), num_classes=5, learn_sigma=False)
    )
    deeper = complaint(UNetConfig(**sizes(num_res_blocks=2), num_classes=5))
    assert " missing (input_blocks.4.0.in_layers.0.weight," in deeper and ", ...)" in deeper
    torch.save({**state, "extra": torch.zeros(1)}, path)
    assert "1 unexpected (extra)" in complaint(config)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"weight": torch.zeros(1)}}])
def test_a_file_without_state_dict_is_refused(sizes, tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="no state dict"):
        UNet.from_guided_diffusion(tmp_path / "model.pt", UNetConfig(**sizes()))


def test_unknown_preset_is_refused_before_the_file_is_read():
    with pytest.raises(ValueError, match=r"'64x64_classifier'; expected one of 64x64_diffusion, "):
        UNet.from_guided_diffusion("nowhere.pt", "64x64_classifier")
