"""The loop: seeds, batches, levels, the guidance hook, and what it refuses."""

import pytest
import torch
from torch import nn

from ddpm.diffusion import GaussianDiffusion
from ddpm.noise import stream
from ddpm.samplers import Predictor, sample
from ddpm.schedules import cosine_schedule, linear_schedule
from ddpm.steps import STEPS

DIFFUSION = GaussianDiffusion(cosine_schedule(60), variance="learned_range")
SHAPE = (4, 2, 3, 3)


class Net(nn.Module):
    """Looks at all pixels of an image and at its timestep, and at no other image."""

    def __init__(self, scale=0.3):
        super().__init__()
        torch.manual_seed(1)
        self.mix = nn.Linear(18, 36, dtype=torch.float64)
        self.dropout = nn.Dropout(0.5)
        self.scale = scale
        self.modes = []
        self.times = []

    def forward(self, x, t, labels=None):
        self.modes.append(self.training)
        self.times.append(t.tolist())
        mixed = self.dropout(self.mix(x.double().flatten(1)).view(len(x), 4, 3, 3))
        shift = (t / 1000).view(-1, 1, 1, 1) + (0 if labels is None else labels.view(-1, 1, 1, 1))
        return (self.scale * (mixed + shift)).to(x.dtype)


every_sampler = pytest.mark.parametrize("sampler", STEPS)


@every_sampler
def test_images_are_in_range_and_of_the_shape_asked_for(sampler):
    for clip in (True, "dynamic"):
        images = sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=7, clip=clip, seed=0)
        assert (
            images.shape == SHAPE
            and images.dtype == torch.float32
            and float(images.abs().max()) <= 1 + 1e-6
        )
        assert not images.requires_grad


@every_sampler
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(sampler):
    first, again, other = (
        sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=7, seed=s) for s in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)


@every_sampler
def test_an_image_does_not_depend_on_its_batch(sampler):
    labels = torch.tensor([0, 1, 0, 2])
    for seeds in ([5, 6, 5, 7], 9):
        together = sample(
            Net(), SHAPE, DIFFUSION, sampler=sampler, steps=7, seed=seeds, labels=labels
        )
        generators = (
            [stream(s) for s in seeds]
            if isinstance(seeds, list)
            else [stream(9, row) for row in range(4)]
        )
        for row in range(4):
            alone = sample(
                Net(),
                (1, *SHAPE[1:]),
                DIFFUSION,
                sampler=sampler,
                steps=7,
                labels=labels[row : row + 1],
                generator=[generators[row]],
            )
            torch.testing.assert_close(alone[0], together[row])
    same = sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=7, seed=[5, 6, 5, 7])
    torch.testing.assert_close(same[0], same[2])


@every_sampler
def test_one_generator_for_all_goes_on_where_it_was(sampler):
    generator = torch.Generator().manual_seed(0)
    first, second = (
        sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=5, generator=generator)
        for _ in range(2)
    )
    again = sample(
        Net(), SHAPE, DIFFUSION, sampler=sampler, steps=5, generator=generator.manual_seed(0)
    )
    assert torch.equal(first, again) and not torch.allclose(first, second)


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_given_noise_is_where_it_begins(sampler, dtype):
    noise = torch.randn(SHAPE, dtype=dtype)
    before = noise.clone()
    images = sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=5, noise=noise, seed=0)
    assert images.dtype == dtype and torch.equal(noise, before)
    if sampler not in ("ddpm", "sde_dpm_solver++"):  # nothing else is random
        assert torch.equal(
            images, sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=5, noise=noise, seed=1)
        )


@every_sampler
@pytest.mark.parametrize("steps", [None, 2, 7, "ddim20", "3,4,5"])
def test_the_network_sees_every_kept_timestep_from_the_last_down(sampler, steps):
    net = Net()
    sample(net, SHAPE, DIFFUSION, sampler=sampler, steps=steps, seed=0)
    chain = DIFFUSION if steps is None else DIFFUSION.respace(steps)
    expected = chain.timesteps.flip(0).tolist()
    if isinstance(steps, int):
        assert expected[0] == 59  # the noisiest
    # each but the first is looked at at the end of a step and at the start of the next
    if sampler == "heun":
        expected = expected[:1] + [t for t in expected[1:] for _ in range(2)]
    assert net.times == [[t] * 4 for t in expected]


@every_sampler
def test_callback_sees_every_step(sampler):
    states = []
    images = sample(
        Net(), SHAPE, DIFFUSION, sampler=sampler, steps=6, seed=0, callback=states.append
    )
    assert [(s.step, s.level, s.num_steps) for s in states] == [(k, 6 - k, 6) for k in range(1, 7)]
    assert torch.equal(states[-1].x, images) and all(s.x0.shape == SHAPE for s in states)


def test_the_model_is_evaluated_and_left_as_it_was():
    net = Net().train()
    net.dropout.eval()
    sample(net, SHAPE, DIFFUSION, steps=3, seed=0)
    assert net.modes == [False] * 3 and net.training and not net.dropout.training


def test_an_error_of_the_model_leaves_it_as_it_was():
    net = Net().train()
    with pytest.raises(ValueError, match="images"):
        sample(net, (2, 9, 1, 2), DIFFUSION, steps=3)
    assert net.training and net.dropout.training


@every_sampler
def test_guidance_takes_the_place_of_the_predictor(sampler):
    seen = []

    def push(predictor):
        assert isinstance(predictor, Predictor) and predictor.diffusion.num_timesteps == 6
        assert predictor.labels.tolist() == [1, 2, 3, 4] and isinstance(predictor.model, Net)

        def predict(x, t):
            seen.append(t)
            p = predictor(x, t)
            return p.with_x0(torch.ones_like(p.x0)).with_mean(torch.ones_like(p.mean))

        return predict

    labels = torch.tensor([1, 2, 3, 4])
    images = sample(
        Net(), SHAPE, DIFFUSION, sampler=sampler, steps=6, seed=0, guidance=push, labels=labels
    )
    assert torch.allclose(images, torch.ones(SHAPE)) and set(seen) == set(range(6))
    unguided = sample(Net(), SHAPE, DIFFUSION, sampler=sampler, steps=6, seed=0, labels=labels)
    same = sample(
        Net(),
        SHAPE,
        DIFFUSION,
        sampler=sampler,
        steps=6,
        seed=0,
        labels=labels,
        guidance=lambda p: p,
    )
    assert torch.equal(unguided, same)


def test_gradients_can_be_taken_inside_a_guidance():
    def gradient(predictor):
        def predict(x, t):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(x.square().sum(), x)
            assert torch.allclose(slope, 2 * x)
            return predictor(x.detach(), t)

        return predict

    assert not sample(Net(), SHAPE, DIFFUSION, steps=3, seed=0, guidance=gradient).requires_grad


def test_labels_reach_the_network():
    plain, one = (
        sample(Net(), SHAPE, DIFFUSION, steps=5, seed=0, labels=labels)
        for labels in (None, torch.ones(4, dtype=torch.long))
    )
    assert not torch.allclose(plain, one)


def test_a_callable_without_parameters():
    images = sample(
        lambda x, t: torch.zeros_like(x),
        (2, 3),
        GaussianDiffusion(linear_schedule(50), variance="fixed_small"),
    )
    assert images.shape == (2, 3)


def test_a_progress_bar_where_it_is_asked_for(capsys):
    sample(Net(), SHAPE, DIFFUSION, steps=4, seed=0, progress=True)
    assert "sampling" in capsys.readouterr().err
    sample(Net(), SHAPE, DIFFUSION, steps=4, seed=0)
    assert capsys.readouterr().err == ""  # no terminal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "'ddpm', 'ddim', 'heun', 'dpm_solver\\+\\+'"),
        ({"steps": 1}, "the number of steps is 1; expected an integer in 2"),
        ({"steps": 0}, "expected"),
        ({"steps": 61}, "expected"),
        ({"steps": "x"}, "expected"),
        ({"eta": 0.5}, "eta is 0.5 and the sampler 'ddpm'"),
        ({"eta": 1.5, "sampler": "ddim"}, r"\[0, 1\]"),
        ({"eta": -0.1, "sampler": "ddim"}, r"\[0, 1\]"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"expected int64 \(4,\)"),
        ({"labels": torch.zeros(4)}, "float32"),
        ({"clip": "hard"}, "clip is 'hard'"),
        ({"seed": 1, "generator": torch.Generator()}, "both"),
        ({"seed": [1, 2]}, "2 generators or seeds"),
        ({"generator": [torch.Generator()]}, "1 generators or seeds"),
        ({"noise": torch.zeros(4, 2, 3, 4)}, r"noise is torch.float32 \(4, 2, 3, 4\)"),
        ({"noise": torch.zeros(SHAPE, dtype=torch.long)}, "noise is torch.int64"),
        ({"noise": [0.0]}, "noise is a list"),
        ({"labels": 3}, "labels are a int"),
        ({"labels": [0, 1, 2, 3]}, "labels are a list"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": "1234"}, "seed is '1234'"),
        ({"seed": [0.5] * 4}, "seed is"),
        ({"generator": 7}, "generator is 7"),
        ({"generator": [7] * 4}, "generator is"),
        ({"sampler": ["ddpm"]}, "sampler is"),
        ({"clip": [1]}, "clip is"),
        ({"guidance": 3.0}, "guidance is a float"),
    ],
)
def test_bad_options_are_refused_before_the_network_is_called(options, message):
    net = Net()
    with pytest.raises(ValueError, match=message):
        sample(net, SHAPE, DIFFUSION, **options)
    assert net.times == []


def test_numpys_integers_are_integers():
    import numpy as np

    shape = tuple(np.int64(size) for size in SHAPE)
    expected = sample(Net(), SHAPE, DIFFUSION, steps=3, seed=7)
    assert torch.equal(sample(Net(), shape, DIFFUSION, steps=3, seed=np.int64(7)), expected)
    seeds = torch.tensor([1, 2, 3, 4])
    listed = sample(Net(), SHAPE, DIFFUSION, steps=3, seed=seeds.tolist())
    assert torch.equal(sample(Net(), SHAPE, DIFFUSION, steps=3, seed=seeds), listed)


@pytest.mark.parametrize(
    "shape", [(0, 1, 2, 2), (4,), (2, 1.5, 2, 2), (2, -1, 2, 2), 16, DIFFUSION]
)
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="shape is"):
        sample(Net(), shape, DIFFUSION)
