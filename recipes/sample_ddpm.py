"""Draws images from a saved diffusion model, with its averaged weights: PNG files, an npz, a grid.

    python recipes/sample_ddpm.py                      # the model of recipes/train_ddpm.py
    python recipes/sample_ddpm.py --class_name 7 --sampler unipc3 --steps trailing10 --trajectory
    python recipes/sample_ddpm.py --model_name_or_path runs/small --upsampler runs/ddpm_upsampler
    python recipes/sample_ddpm.py --classifier runs/classifier --guidance_scale 3 --class_name 7
    python recipes/sample_ddpm.py --edit my_digits --mask lower_half.png --num_images 8

Image k depends on --seed and k alone: not on the batch size or the number of processes. The npz
holds arr_0, uint8 (N, H, W, C), and arr_1, the labels, as guided-diffusion's evaluator reads them.
With an upsampler the small images are in low_res.png. 2 CPU cores: some seconds. Expected:
"40 images of runs/ddpm", of digits that one can read.
"""

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from ardm.training import check_writable, process_state, quieten, recipe_parser, run_recipe
from ddpm.drawing import chosen_labels, draw_edited, draw_images, draw_upsampled, gathered
from ddpm.evaluation import (
    editing_arguments,
    guidance_arguments,
    sampling_arguments,
    upsampling_arguments,
)
from ddpm.hub import (
    DEMO_FOLDER,
    Film,
    SavedModels,
    check_image_folder,
    image_grid,
    load_together,
    write_images,
    write_npz,
    write_png,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    which = "a saved folder, or user/name on the Hub"
    parser.add_argument("--model_name_or_path", default=DEMO_FOLDER, help=which)
    parser.add_argument("--output_dir", default="runs/ddpm_samples")
    sampling_arguments.add_sampling_arguments(parser)
    guidance_arguments.add_guidance_arguments(parser)
    upsampling_arguments.add_cascade_arguments(parser)
    editing_arguments.add_editing_arguments(parser)
    also = "also write how the first images appear, as a GIF"
    parser.add_argument("--trajectory", action="store_true", help=also)
    args = parser.parse_args(argv)
    sampling_arguments.check_sampling(args)
    guidance_arguments.chosen_guide(args)
    editing_arguments.check_editing(args)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    state = process_state()
    quieten(state.is_main_process)
    beside = {"upsampler": args.upsampler, "classifier": args.classifier}
    beside |= {"weaker": args.weaker_model, "variance": args.variance}
    models = load_together(args.model_name_or_path, **beside)
    upsampling_arguments.check_cascade(models.model, models.second, args)
    check_writable(args.output_dir)
    check_image_folder(args.output_dir, args.num_images)
    models.to(state.device)
    labels = chosen_labels(args.num_images, models.class_names, args.class_name)
    given = None
    if args.edit is not None:
        asked = models.class_names if args.class_name is None else None
        given = editing_arguments.images_to_edit(args.edit, models.model, args.num_images, asked)
        labels = labels if given.labels is None else given.labels
    film = Film()
    images, small = draw(args, models, labels, given, film if args.trajectory else None)
    if state.is_main_process:
        write_all(args, images, labels, film, small)


def draw(
    args: argparse.Namespace,
    models: SavedModels,
    labels: Tensor | None,
    given: editing_arguments.Given | None,
    film: Film | None,
) -> tuple[Tensor, Tensor | None]:
    """All images, and the small ones that they were made of."""
    model, diffusion, second = models.model, models.diffusion, models.second
    state = process_state()
    share = {"process_index": state.process_index, "num_processes": state.num_processes}
    options: dict[str, Any] = sampling_arguments.sampling_settings(args) | share
    options |= {"progress": None if state.is_main_process else False}
    last = {"callback": film}  # of the last stage
    own = labels if model.config.num_classes else None
    guides = (labels, models.classifier, models.weaker)
    steer = guidance_arguments.guidance_for(args, *guides, conditional=own is not None)
    first = options | {"labels": own, "guidance_for": steer} | ({} if second else last)
    shape = upsampling_arguments.image_shape(model, args.height, args.width)
    if given is None:
        drawn = draw_images(model, diffusion, args.num_images, shape, **first)
    else:
        first |= editing_arguments.edit_settings(args, model)
        drawn = draw_edited(model, diffusion, given.images, **first)
    images = gathered(drawn, shape)
    if second is None:
        return images, None
    upsampler, its_diffusion = second
    options |= last | {"noise_level": args.noise_level}
    options |= {"labels": labels if upsampler.config.num_classes else None}
    drawn = draw_upsampled(upsampler, its_diffusion, images, **options)
    return gathered(drawn, upsampling_arguments.image_shape(upsampler)), images


def write_all(
    args: argparse.Namespace,
    images: Tensor,
    labels: Tensor | None,
    film: Film,
    small: Tensor | None,
) -> None:
    folder = Path(args.output_dir)
    write_images(folder, images)
    write_npz(folder / "samples.npz", images, labels)
    write_png(folder / "grid.png", image_grid(images[:100], min(len(images), 10)))
    if small is not None:
        write_png(folder / "low_res.png", image_grid(small[:100], min(len(small), 10)))
    if film.frames:
        film.write(folder / "trajectory.gif")
    how = f"{args.sampler}, {args.steps} steps, seed {args.seed}"
    steered = guidance_arguments.told_guide(args)
    how += f"; {steered}" * bool(steered)
    by = args.model_name_or_path + (f", enlarged by {args.upsampler}" if args.upsampler else "")
    print(
        f"{len(images)} images of {by} ({how}):"
        f" {folder}/000000.png ..., samples.npz, grid.png"
        f"{', low_res.png' * (small is not None)}{', trajectory.gif' * bool(film.frames)}."
    )


if __name__ == "__main__":
    run_recipe(main)
