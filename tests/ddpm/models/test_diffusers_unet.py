"""In diffusers' pipelines our networks draw what `sample` draws; what has no twin is refused."""

import subprocess
import sys

import pytest
import torch

from ddpm import GaussianDiffusion, cosine_schedule, linear_schedule, sample
from ddpm.models import DiffusersUNet, UNet, UNetConfig, diffusers_twin

BETAS = {"linear": linear_schedule(1000), "cosine": cosine_schedule(1000)}


@pytest.fixture(scope="module")
def tiny(sizes, randomise):
    """Changes of the sizes -> a network with random weights."""
    return lambda **changes: randomise(UNet(UNetConfig(**sizes(**changes))))


def scheduler_of(kind, schedule, **options):
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, kind)(trained_betas=BETAS[schedule].float().numpy(), **options)


def drawn(pipeline, **options):
    """What a pipeline draws for seed 3, in our range."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    images = pipeline(batch_size=4, generator=generator, output_type="pt", **options).images
    return images * 2 - 1


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("variance", ["learned_range", "fixed_small"])
def test_ddims_pipeline_draws_what_sample_draws(tiny, schedule, prediction, variance):
    diffusers = pytest.importorskip("diffusers")
    model = tiny(learn_sigma=variance == "learned_range")
    # "leading" steps are our "ddimN", and their noise is to be that of the clipped image as well
    scheduler = scheduler_of("DDIMScheduler", schedule, prediction_type=prediction)
    view = DiffusersUNet(model, variance=False)
    pipeline = diffusers.DDIMPipeline(unet=view, scheduler=scheduler)
    theirs = drawn(pipeline, num_inference_steps=10, use_clipped_model_output=True)
    diffusion = GaussianDiffusion(BETAS[schedule], prediction=prediction, variance=variance)
    ours = sample(
        model,
        (4, 2, 8, 8),
        diffusion,
        sampler="ddim",
        steps="ddim10",
        generator=torch.Generator().manual_seed(3),
    )
    assert ours.std() > 0.1 and len(ours.unique()) > 20  # most of a random network's is clipped
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variance", ["learned_range", "fixed_small", "fixed_large"])
def test_ddpms_pipeline_draws_what_sample_draws(tiny, variance):
    diffusers = pytest.importorskip("diffusers")
    model = tiny(learn_sigma=variance == "learned_range")
    scheduler = scheduler_of("DDPMScheduler", "linear", variance_type=variance)
    pipeline = diffusers.DDPMPipeline(unet=DiffusersUNet(model), scheduler=scheduler)
    theirs = drawn(pipeline, num_inference_steps=20)
    ours = sample(
        model,
        (4, 2, 8, 8),
        GaussianDiffusion(BETAS["linear"], variance=variance),
        steps="ddim20",
        generator=torch.Generator().manual_seed(3),
    )
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("variance", [True, False])
def test_a_view_gives_what_the_network_does(tiny, variance, learned):
    model = tiny(learn_sigma=learned, num_classes=3)
    view = DiffusersUNet(model, variance)
    x = torch.randn(2, 2, 8, 8)
    labels = torch.tensor([0, 2])
    times = torch.tensor([17, 17])
    expected = model(x, times, labels)
    expected = expected if variance else expected[:, :2]
    for t in (17, 17.0, torch.tensor(17), torch.tensor(17.0), times, times.double()):
        output = view(x, t, labels)
        assert torch.equal(output.sample, expected)
        (alone,) = view(x, t, class_labels=labels, return_dict=False)
        assert torch.equal(alone, expected)
    assert (view.config.in_channels, view.config.sample_size) == (2, 8)
    assert view.config.out_channels == expected.shape[1]
    assert (view.dtype, view.device) == (torch.float32, torch.device("cpu"))
    assert view.bfloat16().dtype == model.dtype == torch.bfloat16
    assert view(x.bfloat16(), 3, labels).sample.dtype == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_timesteps_may_lie_on_another_device(tiny):
    view = DiffusersUNet(tiny()).cuda()
    x = torch.randn(2, 2, 8, 8, device="cuda")
    assert torch.equal(view(x, torch.tensor(17)).sample, view(x, 17).sample)


def test_a_view_has_the_weights_of_the_network(tiny):
    model = tiny()
    view = DiffusersUNet(model)
    assert {id(p) for p in view.parameters()} == {id(p) for p in model.parameters()}
    with pytest.raises(ValueError, match="x has shape"):
        view(torch.zeros(2, 3, 8, 8), 0)


def test_what_diffusers_does_not_have_has_no_twin(sizes):
    with pytest.raises(ValueError, match="num_head_channels is None"):
        diffusers_twin(UNetConfig(**sizes()))
    plain = {"resblock_updown": False, "conv_resample": False, "num_head_channels": 4}
    with pytest.raises(ValueError, match="conv_resample is False"):
        diffusers_twin(UNetConfig(**sizes(**plain)))
    for changes in ({"rescale_residual": True}, {"low_resolution": 4}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} is .*; expected"):
            diffusers_twin(UNetConfig(**sizes(num_head_channels=4, **changes)))


@pytest.mark.slow  # an interpreter
def test_diffusers_is_not_loaded():
    program = "import sys, ddpm.models; assert 'diffusers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
