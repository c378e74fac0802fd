"""Draws images from a saved diffusion model, with its averaged weights, into PNG files, one npz and
a grid.

    python recipes/sample_ddpm.py                                       # the model of recipes/train_ddpm.py
    python recipes/sample_ddpm.py --model_name_or_path user/name --sampler ddim --steps 50 --class_name 7
    accelerate launch --cpu --num_processes 2 recipes/sample_ddpm.py --num_images 1000 --sampler dpm_solver++ --steps 25

Image k depends on --seed and k alone: not on the batch size or the number of processes. The npz
holds arr_0, uint8 (N, H, W, C), and arr_1, the labels, as guided-diffusion's evaluator reads them.
2 CPU cores: some seconds.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from ardm.training.files import check_writable
from ardm.training.launching import process_state, run_recipe
from ardm.training.loop import quieten
from ddpm.data.pixels import to_model_range, to_uint8
from ddpm.drawing import balanced_labels, draw_images
from ddpm.hub.folder import load_class_names, load_folder
from ddpm.hub.pictures import (
    check_image_folder,
    image_grid,
    write_gif,
    write_images,
    write_npz,
    write_png,
)
from ddpm.steps import STEPS

DEMO_FOLDER = "runs/ddpm"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model_name_or_path", default=DEMO_FOLDER, help="a saved folder, or user/name on the Hub"
    )
    parser.add_argument("--output_dir", default="runs/ddpm_samples")
    parser.add_argument("--num_images", type=int, default=40)
    parser.add_argument(
        "--batch_size", type=int, default=64, help="images drawn side by side on each process"
    )
    parser.add_argument("--sampler", choices=list(STEPS), default="ddpm")
    parser.add_argument(
        "--steps", default="250", help='how many, or a respacing: "ddim25", "10,10,10"'
    )
    parser.add_argument("--eta", type=float, default=0.0, help="share of new noise in ddim's steps")
    parser.add_argument(
        "--variance", help="of ddpm's steps, instead of the model's: fixed_small or fixed_large"
    )
    parser.add_argument("--clip", choices=["static", "dynamic", "none"], default="static")
    parser.add_argument("--class_name", help="draw this class only; nothing = all of them in turn")
    parser.add_argument("--seed", type=int, default=0, help="of all images")
    parser.add_argument(
        "--trajectory", action="store_true", help="also write how the first images appear, as a GIF"
    )
    return parser.parse_args(argv)


def choose_labels(args: argparse.Namespace, class_names: list[str] | None) -> torch.Tensor | None:
    if args.class_name is None:
        return balanced_labels(args.num_images, len(class_names) if class_names else None)
    if class_names is None or args.class_name not in class_names:
        raise ValueError(
            f"class_name is {args.class_name!r}; expected one of the model's classes:"
            f" {class_names}."
        )
    return torch.full((args.num_images,), class_names.index(args.class_name))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.model_name_or_path == DEMO_FOLDER and not Path(DEMO_FOLDER).exists():
        raise ValueError(
            f"there is no {DEMO_FOLDER}; make it with train_ddpm.py, or name a"
            " --model_name_or_path."
        )
    check_writable(args.output_dir)
    check_image_folder(args.output_dir, args.num_images)
    state = process_state()
    quieten(state.is_main_process)
    model, diffusion = load_folder(args.model_name_or_path)
    diffusion = diffusion if args.variance is None else diffusion.with_variance(args.variance)
    labels = choose_labels(args, load_class_names(args.model_name_or_path))
    shape = (model.config.in_channels, model.config.image_size, model.config.image_size)
    options = {"sampler": args.sampler, "steps": args.steps, "eta": args.eta}
    options |= {
        "clip": args.clip != "none" and args.clip,
        "progress": None if state.is_main_process else False,
    }
    frames: list[Any] = []
    if args.trajectory:
        options["callback"] = lambda now: frames.append(image_grid(now.x[:40].clamp(-1, 1), 10))
    drawn = draw_images(
        model.to(state.device),
        diffusion,
        args.num_images,
        shape,
        seed=args.seed,
        labels=labels,
        batch_size=args.batch_size,
        process_index=state.process_index,
        num_processes=state.num_processes,
        **options,
    )
    finish(
        args,
        state,
        [(numbers, to_uint8(images.cpu())) for numbers, images in drawn],
        labels,
        frames,
    )


def finish(
    args: argparse.Namespace, state: Any, mine: list, labels: torch.Tensor | None, frames: list[Any]
) -> None:
    """Brings the shares of all processes together, in the order of the numbers, and writes them."""
    from accelerate.utils import gather_object

    everything = gather_object(mine)
    folder = Path(args.output_dir)
    if not state.is_main_process:
        return
    numbers, pixels = (torch.cat(part) for part in zip(*everything, strict=True))
    images = to_model_range(pixels[numbers.argsort()])
    write_images(folder, images)
    write_npz(folder / "samples.npz", images, labels)
    write_png(folder / "grid.png", image_grid(images[:100], min(len(images), 10)))
    if frames:
        first = frames[: len(frames) // len(mine)]  # of the first batch
        write_gif(folder / "trajectory.gif", [*first[:: max(1, len(first) // 60)], first[-1]])
    print(
        f"{len(images)} images of {args.model_name_or_path} ({args.sampler}, {args.steps} steps,"
        f" seed {args.seed}): {folder}/000000.png ..., samples.npz, grid.png."
    )


if __name__ == "__main__":
    run_recipe(main)
