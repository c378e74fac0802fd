"""Trains an order-agnostic model of pixels, scores it, saves it, and shows how it draws.

    accelerate launch recipes/train_ardm_pixels.py         # scikit-learn's digits, 8 x 8 pixels
    accelerate launch recipes/train_ardm_pixels.py --num_stages 1 --output_dir runs/pixels_plain
    python recipes/train_ardm_pixels.py --train_file mnist.npz --image_size 14 --branching_factor 16
    python recipes/train_ardm_pixels.py --train_dir photos --image_size 16 --num_values 32

With no argument: 2 CPU cores, 7 minutes; 1.77 bits per dimension. Values are revealed in stages,
the coarse ones first. Writes samples.png, inpainting.png (the lower half drawn anew), order.gif and
sharpening.png (one row a stage). The same command again resumes a stopped run; a finished one is
only scored and saved again.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from ardm.data.images import ImageFormat, ImageTokens
from ardm.evaluation import BoundEvaluation, image_training
from ardm.evaluation.images import draw_images, drawings
from ardm.hub import ImageCardFigures, load_image_classes, load_image_folder, save_image_folder
from ardm.objective import RandomRatioObjective
from ardm.training import (
    add_training_arguments,
    begin,
    muon_adamw,
    run_recipe,
    train,
    training_config,
    upload_folder,
)
from ardm.training.card_parts import with_error
from ddpm.data import ImageDataset, load_images
from ddpm.denoisers import to_model_range
from ddpm.evaluation import arguments
from ddpm.evaluation.image_sets import stacked
from ddpm.hub.pictures import comparison_grid, image_grid, write_gif

DEFAULTS = {
    "output_dir": "runs/ardm_pixels",
    "max_train_steps": 800,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-2,
    "eval_steps": 200,
}
SHOWN = 10  # images a row of the pictures


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    arguments.add_image_arguments(parser, flips=False)
    add_training_arguments(parser, **DEFAULTS)
    image_training.add_image_model_arguments(parser, num_stages=2)
    return image_training.parse_image_training(parser, argv)


def tokens_of(data: ImageDataset, pixels: ImageFormat, most: int | None = None) -> ImageTokens:
    return ImageTokens(pixels.encode(*stacked(data, most)), pixels)


def grid(images: torch.Tensor) -> Image:
    return image_grid(to_model_range(images), SHOWN)


def pictures_of(shown: dict[str, Any]) -> dict[str, bytes | Image]:
    pictures: dict[str, bytes | Image] = {"samples.png": grid(shown["samples"])}
    for name in ("inpainting", "sharpening"):
        if rows := shown.get(name):
            width = len(next(iter(rows.values())))
            cell = {"": {"": to_model_range(torch.cat([*rows.values()]))}}
            picture = comparison_grid(cell, "", width, 0.6 * width, row_names=[*rows])
            pictures[f"{name}.png"] = picture
    with tempfile.TemporaryDirectory() as aside:
        write_gif(Path(aside) / "order.gif", map(grid, shown["order"]), 80)
        return pictures | {"order.gif": (Path(aside) / "order.gif").read_bytes()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    accelerator = begin(config)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        images = load_images(**arguments.image_settings(args))
    data, held_out = images["train"], images["validation"]
    image_training.check_images(args, stacked(data)[0], data.class_names)
    pixels = ImageFormat(data.image_shape, args.num_values, data.num_classes or 0)
    if args.model_name_or_path:
        model, saved = load_image_folder(args.model_name_or_path)
        classes = load_image_classes(args.model_name_or_path)
        image_training.check_same_images(saved, classes, pixels, data.class_names)
        pixels = saved
    else:
        model = image_training.new_image_model(pixels, args)
    train_data = tokens_of(data, pixels)
    evaluate = None
    if held_out is not None:
        evaluate = BoundEvaluation(tokens_of(held_out, pixels, args.max_eval_images), None)
    fresh = not args.model_name_or_path
    settings = {name: getattr(args, name) for name in image_training.OBJECTIVE}
    result = train(
        model.float(),
        RandomRatioObjective(pixels.num_values, config.seed, **settings),
        train_data,
        config=config,
        eval_fn=evaluate,
        optimizer=muon_adamw(
            model, config.learning_rate, muon_learning_rate=args.muon_learning_rate
        ),
        accelerator=accelerator,
        identity=image_training.image_identity(train_data, model, settings, fresh=fresh),
        samples_fn=lambda model: {"samples": grid(draw_images(model, pixels, SHOWN, seed=0))},
        units_per_example={"values": pixels.num_pixels},
    )
    bound = None
    if evaluate is not None:
        bound = evaluate.figures(evaluate.nats(model, num_samples=16))["bits per token"]
    if accelerator.is_main_process:
        figures = ImageCardFigures(
            **image_training.image_run_facts(args, arguments.data_name(args), model, result),
            shape=pixels.shape,
            num_values=pixels.num_values,
            class_names=data.class_names,
            held_out=arguments.held_out_name(args),
            num_scored=len(evaluate) if evaluate else None,
            bits_per_dimension=bound,
        )
        given = (evaluate or train_data).input_ids[:SHOWN].long()
        shown = drawings(model, pixels, given.to(model.device), SHOWN, args.guidance_scale)
        pictures = pictures_of(shown)
        save_image_folder(args.output_dir, model, figures, result.history, pictures)
        if bound is not None:
            of = " of an image given its class" * bool(data.class_names)
            value = with_error(bound.value, bound.standard_error, 3, "+-")
            print(f"{value} bits per dimension{of}: upper bound.")
        print(f"Saved in {args.output_dir}: the model, README.md, {', '.join(pictures)}.")
        if args.push_to_hub:
            print("Uploaded to", upload_folder(args.output_dir, args.hub_model_id))
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
