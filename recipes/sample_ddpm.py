"""Draws images from a saved diffusion model, with its averaged weights: PNG files, an npz, a grid.

    python recipes/sample_ddpm.py                      # the model of recipes/train_ddpm.py
    python recipes/sample_ddpm.py --class_name 7 --sampler unipc3 --steps trailing10 --trajectory
    python recipes/sample_ddpm.py --model_name_or_path runs/small --upsampler runs/ddpm_upsampler
    python recipes/sample_ddpm.py --classifier runs/classifier --guidance_scale 3 --class_name 7

Image k depends on --seed and k alone: not on the batch size or the number of processes. The npz
holds arr_0, uint8 (N, H, W, C), and arr_1, the labels, as guided-diffusion's evaluator reads them.
With an upsampler the small images are in low_res.png. 2 CPU cores: some seconds. Expected:
"40 images of runs/ddpm", of digits that one can read.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ardm.training import check_writable, process_state, quieten, run_recipe
from ddpm import GaussianDiffusion, SamplingState, UNet
from ddpm.drawing import chosen_labels, draw_images, draw_upsampled, gathered
from ddpm.evaluation.guidance_arguments import add_guidance_arguments, chosen_guide, guidance_for
from ddpm.evaluation.sampling_arguments import add_sampling_arguments
from ddpm.evaluation.upsampling_arguments import add_cascade_arguments, check_cascade, image_shape
from ddpm.hub import (
    DEMO_FOLDER,
    check_image_folder,
    image_grid,
    load_class_names,
    load_classifier,
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
    add_guidance_arguments(parser)
    add_cascade_arguments(parser)
    parser.add_argument(
        "--trajectory", action="store_true", help="also write how the first images appear, as a GIF"
    )
    return parser.parse_args(argv)


def load(name: str, variance: str | None) -> tuple[UNet, GaussianDiffusion]:
    model, diffusion = load_folder(name)
    return model, diffusion if variance is None else diffusion.with_variance(variance)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    chosen_guide(args)
    state = process_state()
    quieten(state.is_main_process)
    model, diffusion = load(args.model_name_or_path, args.variance)
    second = load(args.upsampler, args.variance) if args.upsampler else None
    check_cascade(model, second, args)
    check_writable(args.output_dir)
    check_image_folder(args.output_dir, args.num_images)
    classifier = load_classifier(args.classifier).to(state.device) if args.classifier else None
    weaker = load(args.weaker_model, None)[0].to(state.device) if args.weaker_model else None
    class_names = load_class_names(args.model_name_or_path)
    if class_names is None and classifier is not None:  # of a model without classes
        class_names = classifier.config.class_names
    labels = chosen_labels(args.num_images, class_names, args.class_name)
    frames: list[Image] = []

    def keep(now: SamplingState) -> None:
        if len(frames) < now.num_steps:  # of the first batch
            shown = now.x[:NUM_SHOWN].clamp(-1, 1)
            frames.append(image_grid(shown, min(len(shown), 10)))

    options: dict[str, Any] = {
        "seed": args.seed,
        "batch_size": args.batch_size,
        "process_index": state.process_index,
        "num_processes": state.num_processes,
        "sampler": args.sampler,
        "steps": args.steps,
        "eta": args.eta,
        "clip": args.clip != "none" and args.clip,
        "progress": None if state.is_main_process else False,
    }
    film = {"callback": keep if args.trajectory else None}  # of the last stage
    model.to(state.device)
    first = options if second else options | film
    shape = image_shape(model, args.height, args.width)
    own = labels if model.config.num_classes else None
    first = first | {"guidance_for": guidance_for(args, labels, classifier, weaker)}
    drawn = draw_images(model, diffusion, args.num_images, shape, labels=own, **first)
    images = gathered(drawn, shape)
    small = None
    if second is not None:
        small = images
        upsampler, diffusion = second
        upsampler.to(state.device)
        options |= {"labels": labels if upsampler.config.num_classes else None}
        options |= {"noise_level": args.noise_level} | film
        drawn = draw_upsampled(upsampler, diffusion, small, **options)
        images = gathered(drawn, image_shape(upsampler))
    if not state.is_main_process:
        return
    write_all(Path(args.output_dir), images, labels, frames, small)
    how = f"{args.sampler}, {args.steps} steps, seed {args.seed}"
    by = args.model_name_or_path + (f", enlarged by {args.upsampler}" if second else "")
    print(
        f"{len(images)} images of {by} ({how}):"
        f" {args.output_dir}/000000.png ..., samples.npz, grid.png"
        f"{', low_res.png' * (second is not None)}{', trajectory.gif' * args.trajectory}."
    )


def write_all(
    folder: Path,
    images: Tensor,
    labels: Tensor | None,
    frames: "list[Image]",
    small: Tensor | None,
) -> None:
    """Writes the images, the small ones, and of the frames at most 60 with the last."""
    write_images(folder, images)
    write_npz(folder / "samples.npz", images, labels)
    write_png(folder / "grid.png", image_grid(images[:100], min(len(images), 10)))
    if small is not None:
        write_png(folder / "low_res.png", image_grid(small[:100], min(len(small), 10)))
    if frames:
        some = frames[:: -math.ceil(len(frames) / 60)][::-1]  # with the last one
        milliseconds = max(60, min(500, 3000 // len(some) // 10 * 10))  # about 3 s
        write_gif(folder / "trajectory.gif", some, milliseconds)


if __name__ == "__main__":
    run_recipe(main)
