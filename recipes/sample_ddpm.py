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

from ardm.training import check_writable, process_state, quieten, run_recipe
from ddpm import GaussianDiffusion
from ddpm.drawing import chosen_labels, draw_edited, draw_images, draw_upsampled, gathered
from ddpm.evaluation.editing_arguments import (
    add_editing_arguments,
    check_editing,
    edit_settings,
    images_to_edit,
    read_mask,
)
from ddpm.evaluation.guidance_arguments import add_guidance_arguments, chosen_guide, guidance_for
from ddpm.evaluation.sampling_arguments import (
    add_sampling_arguments,
    check_sampling,
    sampling_settings,
)
from ddpm.evaluation.upsampling_arguments import add_cascade_arguments, check_cascade, image_shape
from ddpm.hub import (
    DEMO_FOLDER,
    Film,
    check_image_folder,
    image_grid,
    load_class_names,
    load_folder,
    load_guides,
    load_upsampler,
    write_images,
    write_npz,
    write_png,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    which = "a saved folder, or user/name on the Hub"
    parser.add_argument("--model_name_or_path", default=DEMO_FOLDER, help=which)
    parser.add_argument("--output_dir", default="runs/ddpm_samples")
    add_sampling_arguments(parser)
    add_guidance_arguments(parser)
    add_cascade_arguments(parser)
    add_editing_arguments(parser)
    also = "also write how the first images appear, as a GIF"
    parser.add_argument("--trajectory", action="store_true", help=also)
    args = parser.parse_args(argv)
    check_sampling(args)
    chosen_guide(args)
    check_editing(args)
    return args


def varied(diffusion: GaussianDiffusion, variance: str | None) -> GaussianDiffusion:
    return diffusion if variance is None else diffusion.with_variance(variance)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    state = process_state()
    quieten(state.is_main_process)
    name = args.model_name_or_path
    model, diffusion = load_folder(name)
    diffusion = varied(diffusion, args.variance)
    second = load_upsampler(name, args.upsampler) if args.upsampler else None
    check_cascade(model, second, args)
    check_writable(args.output_dir)
    check_image_folder(args.output_dir, args.num_images)
    guides = {"classifier": args.classifier, "weaker": args.weaker_model}
    classifier, weaker = load_guides(name, model, diffusion, **guides)
    class_names = load_class_names(name)
    if class_names is None and classifier is not None:  # of a model without classes
        class_names = classifier.config.label_names
    labels = chosen_labels(args.num_images, class_names, args.class_name)
    film = Film()
    share = {"process_index": state.process_index, "num_processes": state.num_processes}
    shown = {"progress": None if state.is_main_process else False}
    options: dict[str, Any] = sampling_settings(args) | share | shown
    last = {"callback": film if args.trajectory else None}  # of the last stage
    own = labels if model.config.num_classes else None
    steer = guidance_for(args, labels, classifier, weaker, conditional=own is not None)
    first = options | {"guidance_for": steer} | ({} if second else last)
    shape = image_shape(model, args.height, args.width)
    for network in filter(None, (model, classifier, weaker)):
        network.to(state.device)
    if args.edit is None:
        drawn = draw_images(model, diffusion, args.num_images, shape, labels=own, **first)
    else:
        given = images_to_edit(args.edit, model, args.num_images)
        first |= edit_settings(args) | {"mask": read_mask(args.mask, model)}
        drawn = draw_edited(model, diffusion, given, labels=own, **first)
    images = gathered(drawn, shape)
    small = None
    if second is not None:
        small = images
        upsampler, diffusion = second
        options |= {"labels": labels if upsampler.config.num_classes else None}
        options |= {"noise_level": args.noise_level} | last
        diffusion = varied(diffusion, args.variance)
        drawn = draw_upsampled(upsampler.to(state.device), diffusion, small, **options)
        images = gathered(drawn, image_shape(upsampler))
    if state.is_main_process:
        write_all(args, images, labels, film, small)


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
    by = args.model_name_or_path + (f", enlarged by {args.upsampler}" if args.upsampler else "")
    print(
        f"{len(images)} images of {by} ({how}):"
        f" {folder}/000000.png ..., samples.npz, grid.png"
        f"{', low_res.png' * (small is not None)}{', trajectory.gif' * bool(film.frames)}."
    )


if __name__ == "__main__":
    run_recipe(main)
