"""The recipes' flags: defaults that fit together, and what does not."""

import argparse

import pytest
import torch

from ddpm.evaluation.arguments import (
    add_model_arguments,
    levels_for,
    new_diffusion,
    new_network,
    new_objective,
)
from ddpm.timesteps import LossSecondMomentTimesteps, UniformTimesteps


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), seed=0, random_flip=False)


def test_defaults_fit_together():
    args = parsed()
    diffusion, model = new_diffusion(args), new_network(args, 8, 1, 10)
    assert (diffusion.num_timesteps, diffusion.variance, diffusion.loss) == (
        1000,
        "learned_range",
        "hybrid",
    )
    loss = diffusion.losses(
        model, torch.zeros(2, 1, 8, 8), torch.tensor([3, 700]), labels=torch.tensor([0, 9])
    )
    assert bool(loss.isfinite().all())
    assert isinstance(new_objective(args, diffusion).timesteps, UniformTimesteps)


def test_flags_reach_what_they_name():
    args = parsed(
        "--schedule", "linear_zero_snr", "--num_timesteps", "50", "--prediction", "v_prediction", "--variance",
        "fixed_small", "--loss", "simple", "--min_snr_gamma", "5", "--timestep_sampler", "loss_second_moment",
        "--channel_mult", "0.5", "1", "--model_channels", "16", "--num_res_blocks", "1", "--norm_num_groups", "4",
        "--num_head_channels", "8", "--dropout", "0.1",
    )  # fmt: skip
    diffusion, model = new_diffusion(args), new_network(args, 8, 3, None)
    assert (diffusion.prediction, diffusion.variance, diffusion.loss) == (
        "v_prediction",
        "fixed_small",
        "simple",
    )
    assert (
        diffusion.num_timesteps == 50
        and diffusion.min_snr_gamma == 5
        and float(diffusion.betas[-1]) == 1
    )
    assert (
        model.config.widths == (8, 16)
        and model.config.out_channels == 3
        and model.config.num_classes is None
    )
    assert (model.config.num_res_blocks, model.config.dropout) == (1, 0.1)
    objective = new_objective(args, diffusion)
    assert (
        isinstance(objective.timesteps, LossSecondMomentTimesteps)
        and objective.timesteps.num_timesteps == 50
    )


def test_the_seed_decides_the_weights():
    first, again = (new_network(parsed(), 8, 1, None) for _ in range(2))
    other = new_network(argparse.Namespace(**vars(parsed()) | {"seed": 1}), 8, 1, None)
    assert torch.equal(first.encoder.stem.weight, again.encoder.stem.weight)
    assert not torch.equal(first.encoder.stem.weight, other.encoder.stem.weight)


def test_a_preset_is_for_its_size():
    with pytest.raises(
        ValueError, match="64x64_diffusion' is for images of 64 pixels; these have 8"
    ):
        new_network(parsed("--preset", "64x64_diffusion"), 8, 1, None)
    with pytest.raises(ValueError, match="expected one of 64x64_diffusion"):
        new_network(parsed("--preset", "mine"), 64, 3, None)


@pytest.mark.parametrize(
    ("size", "factors", "attended"),
    [(4, [1], []), (8, [1, 2], [4]), (16, [1, 2, 2], [8, 4]), (28, [1, 2, 2], [14, 7]), (32, [1, 2, 2, 2], [16, 8, 4]),
     (64, [1, 2, 2, 2], [16, 8]), (7, [1], [])],
)  # fmt: skip
def test_levels_follow_the_images(size, factors, attended):
    assert levels_for(size) == {"channel_mult": factors, "attention_resolutions": attended}
    config = new_network(
        parsed("--model_channels", "16", "--num_head_channels", "16"), size, 3, None
    ).config
    assert (list(config.channel_mult), list(config.attention_resolutions)) == (factors, attended)
    assert levels_for(size, [1.0, 1.5])["channel_mult"] == [1, 1.5]
    assert levels_for(size, None, [size])["attention_resolutions"] == [size]


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="image_size"):
        new_network(parsed("--channel_mult", "1", "2"), 9, 1, None)
    with pytest.raises(ValueError, match="num_timesteps"):
        new_diffusion(parsed("--schedule", "linear", "--num_timesteps", "5"))
