"""How much of sampling and of a training step is spent outside the U-Net, and how fast the U-Net
is.

    python recipes/benchmark_ddpm.py

2 CPU cores, about 6 minutes; medians of repeats in turn, float32, learned variance, class labels.
Figures: README.md.
- network: images/s, and their ratio to those of diffusers' `UNet2DModel` with the same layers on
    the same batch;
- sampling: a call of `sample` over the time inside the network's forward, 50 steps, target 1.01;
- training: a whole step (data, noise, loss, clipping, EMA, logging) over forward + backward +
    optimiser, target 1.03.
"""

import argparse
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from ardm.training.launching import run_recipe
from ardm.training.loop import TrainingConfig, make_accelerator, quieten, train
from ardm.training.timing import Stopwatch, medians_in_turn
from ddpm import DiffusionObjective, GaussianDiffusion, UNet, UNetConfig, cosine_schedule, sample
from ddpm.peers import diffusers_twin
from ddpm.steps import STEPS

COMMON: dict[str, Any] = {"num_res_blocks": 2, "num_head_channels": 32, "num_classes": 10}
DIGITS: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 32,
    "attention_resolutions": (4,),
}
PHOTOS: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 3,
    "model_channels": 64,
    "attention_resolutions": (16, 8),
}
SIZES: dict[str, dict[str, Any]] = {  # the last word is the batch
    "8 x 8, width 32, batch 64": DIGITS | {"channel_mult": (1, 2)},
    "32 x 32, width 64, batch 16": PHOTOS | {"channel_mult": (1, 2, 2)},
}
DIFFUSION = GaussianDiffusion(cosine_schedule(1000))


def network(name: str) -> tuple[Any, tuple[int, ...]]:
    """The U-Net, and the shape of its batch."""
    torch.manual_seed(0)
    model: Any = UNet(UNetConfig(**COMMON, **SIZES[name]))
    for parameter in model.parameters():
        if not parameter.any():  # a fresh network predicts 0
            torch.nn.init.normal_(parameter, 0.0, 0.02)
    size = model.config.image_size
    return model.to(memory_format=torch.channels_last), (
        int(name.split()[-1]),
        model.config.in_channels,
        size,
        size,
    )


def forward(model: Any, shape: tuple[int, ...], backward: bool) -> tuple[float]:
    x = torch.randn(shape)
    t = torch.arange(shape[0]) * 10
    labels = torch.arange(shape[0]) % 10
    began = time.perf_counter()
    with torch.set_grad_enabled(backward):
        output = model(x, t, labels)
        if backward:
            (
                output if isinstance(output, torch.Tensor) else output.sample
            ).square().mean().backward()
    return (time.perf_counter() - began,)


def sampling(name: str, sampler: str) -> tuple[float]:
    model, shape = network(name)
    watch = Stopwatch()
    watch.over(model, "forward")
    began = time.perf_counter()
    sample(
        model,
        shape,
        DIFFUSION,
        sampler=sampler,
        steps=50,
        labels=torch.arange(shape[0]) % 10,
        seed=0,
    )
    return ((time.perf_counter() - began) / watch.seconds("forward"),)


def training(name: str) -> tuple[float, ...]:
    model, shape = network(name)
    watch = Stopwatch()
    data = [
        {"images": torch.randint(256, shape[1:]).byte(), "labels": torch.tensor(k % 10)}
        for k in range(256)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(folder, shape[0], shape[0], checkpointing_steps=0)  # 64 or 16 steps
        accelerator = make_accelerator(config)
        watch.over_all((model, "forward"), (optimizer, "step"), (accelerator, "backward"))
        train(
            model,
            DiffusionObjective(DIFFUSION),
            data,
            config=config,
            optimizer=optimizer,
            accelerator=accelerator,
        )
    return watch.medians("step", num_chunks=3)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    quieten(False)
    for name in SIZES:
        model, shape = network(name)
        models = {"ours": model} | (
            {"diffusers": diffusers_twin(model.config)} if find_spec("diffusers") else {}
        )
        for backward in (False, True):
            calls = {who: partial(forward, each, shape, backward) for who, each in models.items()}
            seconds = {
                who: figure[0] for who, figure in medians_in_turn(calls, 5 * args.repeats).items()
            }
            speed = ", ".join(f"{who} {shape[0] / each:.0f}" for who, each in seconds.items())
            print(f"{name}: {('forward', 'forward and backward')[backward]}, images/s: {speed}")
        loops: dict[str, Any] = {
            f"sampling with {sampler}": partial(sampling, name, sampler) for sampler in STEPS
        }
        for what, figures in medians_in_turn(
            loops | {"training": partial(training, name)}, args.repeats
        ).items():
            print(f"{name}: {what}, total / inside {figures[0]:.4f}")


if __name__ == "__main__":
    run_recipe(main)
