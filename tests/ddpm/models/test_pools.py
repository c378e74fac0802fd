"""What a classifier ends in: each pool against its formula, and what guidance makes of it."""

import json

import pytest
import torch

from ddpm import GaussianDiffusion, classifier_guidance, cosine_schedule, sample
from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.pools import POOLS, AdaptivePool, AttentionPool, spatial_means


@pytest.fixture(scope="module")
def config_of(sizes):
    """Changes of the sizes -> a classifier's configuration of 5 classes."""
    return lambda **changes: ClassifierConfig(**sizes(**({"num_classes": 5} | changes)))


def close(first, second, tolerance=1e-5):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("order", ["new", "legacy"])
@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_pooling_is_attention_of_the_mean(sizes, randomise, num_heads, order):
    """Written out head by head; its rows are in the new order whatever that of the blocks is."""
    changes = {"model_channels": 6, "norm_num_groups": 2, "num_heads": num_heads}
    config = ClassifierConfig(**sizes(**changes, attention_order=order), num_classes=5)
    config._attn_implementation = "sdpa"
    pool = randomise(AttentionPool(config, 12))
    h = torch.randn(2, 12, 4, 4)
    tokens = (
        torch.cat((h.flatten(2).mean(2, keepdim=True), h.flatten(2)), 2) + pool.positional_embedding
    )
    rows = pool.qkv.weight @ tokens + pool.qkv.bias[:, None]
    channels = 12 // num_heads
    mixed = []
    for head in range(num_heads):
        query, key, value = (
            rows[:, (i * num_heads + head) * channels :][:, :channels] for i in range(3)
        )
        weights = torch.einsum("bcn,bcm->bnm", query, key).div(channels**0.5).softmax(-1)
        mixed.append(torch.einsum("bnm,bcm->bcn", weights, value))
    everywhere = pool.out.weight @ torch.cat(mixed, 1) + pool.out.bias[:, None]
    close(pool(h), everywhere[:, :, 0])


def test_adaptive_pooling_is_a_layer_on_the_mean_which_starts_at_0(config_of, randomise):
    pool = AdaptivePool(config_of(pool="adaptive"), 12)
    h = torch.randn(2, 12, 3, 5)
    NoisyClassifier(config_of(pool="adaptive"))._init_weights(pool.linear)
    assert not pool(h).any()
    weight, bias = randomise(pool).parameters()
    close(pool(h), torch.einsum("kc,bchw->bk", weight, h) / 15 + bias)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("name", ["spatial", "spatial_v2"])
def test_spatial_pooling_is_two_layers_on_the_means(config_of, randomise, name, groups):
    """Written out, the group norm too: 2048 / groups channels share a mean and a variance."""
    pool = randomise(POOLS[name](config_of(pool=name, norm_num_groups=groups), 7))
    features = torch.randn(3, 7)
    w1, b1, *norm, w2, b2 = pool.parameters()
    hidden = features @ w1.T + b1
    assert hidden.shape == (3, 2048)
    if norm:
        grouped = hidden.view(3, groups, -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        scaled = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
        hidden = scaled.view(3, 2048) * norm[0] + norm[1]
        hidden = hidden * hidden.sigmoid()
    else:
        hidden = hidden.clamp(min=0)
    close(pool(features), hidden @ w2.T + b2, 1e-4)


def test_means_are_of_each_map_in_turn():
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 1, 2, 2), torch.randn(2, 5, 1, 1)]
    means = spatial_means(maps)
    assert means.shape == (2, 9)
    close(means[:, 3], maps[1].flatten(1).sum(1) / 4)
    close(means[:, 4:], maps[2].flatten(1))
    close(means[:, 1], maps[0][:, 1].flatten(1).sum(1) / 16)


# -------------------------------------------------------------------------------- whole classifiers
@torch.no_grad()
@pytest.mark.parametrize("name", POOLS)
def test_all_pools_but_attention_take_images_that_the_levels_halve(config_of, randomise, name):
    """A wide image on its side, seen by kernels on theirs, has the logits of the upright one."""
    model = randomise(NoisyClassifier(config_of(pool=name)))
    x, t = torch.randn(2, 2, 4, 14), torch.tensor([3, 700])
    if name == "attention":
        with pytest.raises(ValueError, match=r"expected \(B, 2, 8, 8\), the one size"):
            model(x, t)
        return
    logits = model(x, t)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.copy_(layer.weight.transpose(2, 3).clone())
    close(model(x.transpose(2, 3), t), logits)
    with pytest.raises(ValueError, match=r"H and W multiples of 2\^\(levels-1\) = 2"):
        model(x[..., 1:], t)


def test_every_pool_can_be_chosen_and_others_are_refused(config_of):
    for name in POOLS:
        assert config_of(pool=name).pool == name
    with pytest.raises(ValueError, match=r"pool is 'max'; expected one of 'attention', 'adaptive'"):
        config_of(pool="max")


def test_groups_must_divide_the_hidden_layer_of_spatial_v2(config_of):
    odd = {"model_channels": 6, "norm_num_groups": 3, "num_heads": 1}
    assert config_of(**odd, pool="spatial").norm_num_groups == 3
    with pytest.raises(ValueError, match="norm_num_groups is 3; expected a divisor of 2048"):
        config_of(**odd, pool="spatial_v2")
    with pytest.raises(ValueError, match="norm_num_groups is 0"):
        config_of(norm_num_groups=0, pool="spatial_v2")


def test_a_saved_configuration_without_a_pool_has_attention(config_of, randomise, tmp_path):
    model = randomise(NoisyClassifier(config_of()))
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("pool") == "attention"
    path.write_text(json.dumps(settings))
    loaded = NoisyClassifier.from_pretrained(tmp_path)
    assert isinstance(loaded.pool, AttentionPool)
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([3, 700])
    assert torch.equal(loaded(x, t), model(x, t))


@pytest.mark.parametrize("name", POOLS)
def test_each_pool_guides_images_towards_their_classes(config_of, randomise, name):
    """By the classifier's own word on what comes out, on average: its weights are random."""
    model = randomise(NoisyClassifier(config_of(pool=name)))
    diffusion = GaussianDiffusion(cosine_schedule(20), "sample", "fixed_small")
    labels = torch.arange(5)

    def log_prob(scale):
        guidance = classifier_guidance(model, labels, scale=scale)
        options = {"sampler": "ddim", "clip": False, "seed": 0, "guidance": guidance}
        images = sample(lambda x, t: 0.2 * x, (5, 2, 8, 8), diffusion, **options)
        with torch.no_grad():
            return model(images, torch.zeros(5)).log_softmax(1)[labels, labels].mean()

    assert log_prob(50.0) > log_prob(0.0) + 1e-3
