"""How much of sampling and training is spent outside the U-Net, and how fast the U-Net is.

    python recipes/benchmark_ddpm.py

2 CPU cores, about 8 minutes; medians of repeats in turn, float32, learned variance, class labels:
- network: images/s, beside diffusers' `UNet2DModel` with the same layers on the same batch;
- sampling: a call of `sample` over the time inside the network's forward, 50 steps, target 1.01;
- guided sampling: by a classifier over all forwards and its gradient, target 1.05; classifier-free
  over forwards of twice the batch, target 1.02;
- training: a whole step, data to EMA, over forward + backward + optimiser, target 1.03.
"""

import tempfile
import time
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple
from unittest import mock

import torch

import ddpm
from ardm.training import TrainingConfig, make_accelerator, quieten, run_recipe, train
from ardm.training.commands import recipe_parser
from ardm.training.timing import Stopwatch, medians_in_turn
from ddpm.models import diffusers_twin
from ddpm.steps import STEPS

DIFFUSION = ddpm.GaussianDiffusion(ddpm.cosine_schedule(1000))
COMMON: dict[str, Any] = {"num_res_blocks": 2, "num_head_channels": 32, "num_classes": 10}
SIZES = (*COMMON, "image_size", "in_channels", "model_channels", "channel_mult")
DIGITS = COMMON | {"null_class": True, "image_size": 8, "in_channels": 1, "model_channels": 32}
PHOTOS = COMMON | {"null_class": True, "image_size": 32, "in_channels": 3, "model_channels": 64}


class Case(NamedTuple):
    """What is measured: a network, and how many images it is given."""

    config: ddpm.UNetConfig
    batch_size: int

    def __str__(self) -> str:
        side = self.config.image_size
        return f"{side} x {side}, width {self.config.model_channels}, batch {self.batch_size}"

    @property
    def shape(self) -> tuple[int, ...]:
        side = self.config.image_size
        return self.batch_size, self.config.in_channels, side, side


CASES = (
    Case(ddpm.UNetConfig(**DIGITS, channel_mult=(1, 2), attention_resolutions=(4,)), 64),
    Case(ddpm.UNetConfig(**PHOTOS, channel_mult=(1, 2, 2), attention_resolutions=(16, 8)), 16),
)


def unet(case: Case) -> Any:
    torch.manual_seed(0)
    model: Any = ddpm.UNet(case.config)
    for parameter in model.parameters():
        if not parameter.any():  # a fresh network predicts 0
            torch.nn.init.normal_(parameter, 0.0, 0.02)
    return model.to(memory_format=torch.channels_last)


def forward(model: torch.nn.Module, case: Case, backward: bool) -> tuple[float, ...]:
    x = torch.randn(case.shape)
    numbers = torch.arange(case.batch_size)
    began = time.perf_counter()
    with torch.set_grad_enabled(backward):
        output = model(x, numbers * 10, numbers % 10)
        if backward:
            output = output if isinstance(output, torch.Tensor) else output.sample  # diffusers'
            output.square().mean().backward()
    return (time.perf_counter() - began,)


def sampling(case: Case, sampler: str, guide: str | None = None) -> tuple[float, ...]:
    """A call of `sample` over what it spends inside the networks, a classifier's gradient too."""
    model = unet(case)
    options: dict[str, Any] = {"sampler": sampler, "steps": 50, "seed": 0}
    options["labels"] = torch.arange(case.batch_size) % 10
    watch = Stopwatch()
    watch.over(model, "forward")
    with mock.patch.object(torch.autograd, "grad", torch.autograd.grad):  # timed here alone
        if guide == "classifier":
            sizes = {name: getattr(case.config, name) for name in SIZES}
            config = ddpm.ClassifierConfig(**sizes, attention_resolutions=())
            classifier = ddpm.NoisyClassifier(config)
            options["guidance"] = ddpm.classifier_guidance(classifier)
            watch.over_all((classifier, "forward"), (torch.autograd, "grad"))
        elif guide == "classifier-free":
            options["guidance"] = ddpm.classifier_free_guidance(2.0)
        began = time.perf_counter()
        ddpm.sample(model, case.shape, DIFFUSION, **options)
        total = time.perf_counter() - began
    return (total / sum(map(watch.seconds, watch.intervals)),)


def training(case: Case) -> tuple[float, ...]:
    model = unet(case)
    images = [torch.randint(256, case.shape[1:]).byte() for _ in range(256)]
    data = [{"images": each, "labels": torch.tensor(k % 10)} for k, each in enumerate(images)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        num_steps = case.batch_size  # 64 or 16
        config = TrainingConfig(folder, num_steps, case.batch_size, checkpointing_steps=0)
        accelerator = make_accelerator(config)
        watch.over_all((model, "forward"), (optimizer, "step"), (accelerator, "backward"))
        tools = {"optimizer": optimizer, "accelerator": accelerator}
        train(model, ddpm.DiffusionObjective(DIFFUSION), data, config=config, **tools)
    return watch.medians("step", num_chunks=3)


def measure(case: Case, repeats: int) -> None:
    model = unet(case)
    twin = {"diffusers": diffusers_twin(model.config)} if find_spec("diffusers") else {}
    models = {"ours": model} | twin
    for what, backward in (("forward", False), ("forward and backward", True)):
        calls = {who: partial(forward, each, case, backward) for who, each in models.items()}
        seconds = medians_in_turn(calls, 5 * repeats)
        speeds = [f"{who} {case.batch_size / each[0]:.0f}" for who, each in seconds.items()]
        print(f"{case}: {what}, images/s: {', '.join(speeds)}")
    loops = {f"sampling with {each}": partial(sampling, case, each) for each in STEPS}
    for guide in ("classifier", "classifier-free"):
        for each in ("ddpm", "ddim"):
            loops[f"{guide} guidance with {each}"] = partial(sampling, case, each, guide)
    loops["training"] = partial(training, case)
    for what, figures in medians_in_turn(loops, repeats).items():
        print(f"{case}: {what}, total / inside {figures[0]:.4f}")


def main(argv: list[str] | None = None) -> None:
    parser = recipe_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    quieten(False)
    for case in CASES:
        measure(case, args.repeats)


if __name__ == "__main__":
    run_recipe(main)
