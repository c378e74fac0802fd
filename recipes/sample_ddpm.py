"""Draws images from a saved diffusion model, with its averaged weights: PNG files, an npz, a grid.

    python recipes/sample_ddpm.py                      # the model of recipes/train_ddpm.py
    python recipes/sample_ddpm.py --model_name_or_path user/name --sampler ddim --steps 50
    python recipes/sample_ddpm.py --class_name 7 --sampler dpm_solver++ --steps 25 --trajectory
    accelerate launch --cpu --num_processes 2 recipes/sample_ddpm.py --num_images 1000

Image k depends on --seed and k alone: not on the batch size or the number of processes. The npz
holds arr_0, uint8 (N, H, W, C), and arr_1, the labels, as guided-diffusion's evaluator reads them.
2 CPU cores: some seconds. Expected: "40 images of runs/ddpm", of digits that one can read.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ardm.training import check_writable, gather_rows, process_state, quieten, run_recipe
from ddpm import SamplingState, draw_images
from ddpm.denoisers import to_model_range, to_uint8
from ddpm.drawing import balanced_labels
from ddpm.evaluation.arguments import add_sampling_arguments
from ddpm.hub import (
    DEMO_FOLDER,
    check_image_folder,
    image_grid,
    load_class_names,
    load_folder,
    write_gif,
    write_images,
    write_npz,
    write_png,
)

if TYPE_CHECKING:
    from PIL.Image import Image

NUM_SHOWN = 40  # images of the trajectory


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--model_name_or_path", default=DEMO_FOLDER, help="a saved folder, or user/name on the Hub"
    )
    parser.add_argument("--output_dir", default="runs/ddpm_samples")
    add_sampling_arguments(parser)
    parser.add_argument(
        "--trajectory", action="store_true", help="also write how the first images appear, as a GIF"
    )
    return parser.parse_args(argv)


def choose_labels(
    num_images: int, class_name: str | None, class_names: list[str] | None
) -> Tensor | None:
    if class_name is None:
        return balanced_labels(num_images, len(class_names) if class_names else None)
    if class_names is None or class_name not in class_names:
        raise ValueError(
            f"class_name is {class_name!r}; expected one of the model's classes: {class_names}."
        )
    return torch.full((num_images,), class_names.index(class_name))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    state = process_state()
    quieten(state.is_main_process)
    model, diffusion = load_folder(args.model_name_or_path)
    check_writable(args.output_dir)
    check_image_folder(args.output_dir, args.num_images)
    diffusion = diffusion if args.variance is None else diffusion.with_variance(args.variance)
    class_names = load_class_names(args.model_name_or_path)
    labels = choose_labels(args.num_images, args.class_name, class_names)
    frames: list[Image] = []

    def keep(now: SamplingState) -> None:
        if len(frames) < now.num_steps:  # of the first batch
            shown = now.x[:NUM_SHOWN].clamp(-1, 1)
            frames.append(image_grid(shown, min(len(shown), 10)))

    size = model.config.image_size
    height, width = (size if given is None else given for given in (args.height, args.width))
    image_shape = (model.config.in_channels, height, width)
    drawn = draw_images(
        model.to(state.device),
        diffusion,
        args.num_images,
        image_shape,
        seed=args.seed,
        labels=labels,
        batch_size=args.batch_size,
        process_index=state.process_index,
        num_processes=state.num_processes,
        sampler=args.sampler,
        steps=args.steps,
        eta=args.eta,
        clip=args.clip != "none" and args.clip,
        progress=None if state.is_main_process else False,
        callback=keep if args.trajectory else None,
    )
    pixels = [(numbers, to_uint8(images.cpu())) for numbers, images in drawn]
    images = gathered(pixels, image_shape)
    if not state.is_main_process:
        return
    write_all(Path(args.output_dir), images, labels, frames)
    how = f"{args.sampler}, {args.steps} steps, seed {args.seed}"
    print(
        f"{len(images)} images of {args.model_name_or_path} ({how}):"
        f" {args.output_dir}/000000.png ..., samples.npz, grid.png"
        f"{', trajectory.gif' * args.trajectory}."
    )


def gathered(mine: list[tuple[Tensor, Tensor]], image_shape: tuple[int, ...]) -> Tensor:
    """The images of all processes, in the order of their numbers, in [-1, 1]."""
    # where there are more processes than images, one has no batch to concatenate
    no_numbers = torch.empty(0, dtype=torch.long)
    no_pixels = torch.empty(0, *image_shape, dtype=torch.uint8)
    numbers = gather_rows(torch.cat([no_numbers, *(each for each, _ in mine)]))
    pixels = gather_rows(torch.cat([no_pixels, *(each for _, each in mine)]))
    return to_model_range(pixels[numbers.argsort()])


def write_all(folder: Path, images: Tensor, labels: Tensor | None, frames: "list[Image]") -> None:
    """Writes the images, and of the frames at most 60 with the last."""
    write_images(folder, images)
    write_npz(folder / "samples.npz", images, labels)
    write_png(folder / "grid.png", image_grid(images[:100], min(len(images), 10)))
    if frames:
        some = frames[:: -math.ceil(len(frames) / 60)][::-1]  # with the last one
        milliseconds = max(60, min(500, 3000 // len(some) // 10 * 10))  # about 3 s
        write_gif(folder / "trajectory.gif", some, milliseconds)


if __name__ == "__main__":
    run_recipe(main)
