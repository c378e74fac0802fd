"""Trains an order-agnostic model of pixels, scores it, saves it, and shows how it draws.

    accelerate launch recipes/train_ardm_pixels.py         # scikit-learn's digits, 8 x 8 pixels
    accelerate launch recipes/train_ardm_pixels.py --num_stages 1 --output_dir runs/pixels_plain
    python recipes/train_ardm_pixels.py --train_file mnist.npz --image_size 14 --branching_factor 16
    python recipes/train_ardm_pixels.py --train_dir photos --image_size 16 --num_values 32

With no argument: 2 CPU cores, 2.5 minutes; 1.77 bits per dimension. Values are revealed in stages,
the coarse ones first. Writes samples.png, inpainting.png (the lower half drawn anew), order.gif and
sharpening.png (one row a stage). The same command resumes a stopped run, and scores a finished one.
"""

import argparse
from typing import Any

import torch
from PIL.Image import Image

from ardm import ARDMForMaskedLM
from ardm.data.images import ImageFormat, ImageTokens
from ardm.evaluation import BoundEvaluation, image_training, run_facts, tracked_settings
from ardm.evaluation.images import draw_images, drawings
from ardm.hub import ImageCardFigures, load_image_classes, load_image_folder, save_image_folder
from ardm.objective import RandomRatioObjective
from ardm.training import (
    TrainingResult,
    add_training_arguments,
    begin,
    muon_adamw,
    recipe_parser,
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
from ddpm.hub import comparison_grid, gif, image_grid

DEFAULTS = {
    "output_dir": "runs/ardm_pixels",
    "max_train_steps": 800,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-2,
    "eval_steps": 200,
}
SHOWN = 10  # images a row of the pictures


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
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
            size = len(next(iter(rows.values())))
            cell = {"": {"": to_model_range(torch.cat([*rows.values()]))}}
            pictures[f"{name}.png"] = comparison_grid(cell, "", size, 0.6 * size, row_names=[*rows])
    return pictures | {"order.gif": gif(map(grid, shown["order"]), 80)}


def model_of(args: argparse.Namespace, data: ImageDataset) -> tuple[ARDMForMaskedLM, ImageFormat]:
    pixels = ImageFormat(data.image_shape, args.num_values, data.num_classes or 0)
    if not args.model_name_or_path:
        return image_training.new_image_model(pixels, args), pixels
    model, saved = load_image_folder(args.model_name_or_path)
    classes = load_image_classes(args.model_name_or_path)
    image_training.check_same_images(saved, classes, pixels, data.class_names)
    return model.float(), saved


def report(
    args: argparse.Namespace,
    model: ARDMForMaskedLM,
    shown: dict[str, Any],
    result: TrainingResult,
    figures: dict[str, Any],
) -> None:
    facts = run_facts(args, arguments.data_name(args), model, result)
    card = ImageCardFigures(**facts, **figures, held_out=arguments.held_out_name(args))
    pictures = pictures_of(shown)
    save_image_folder(args.output_dir, model, card, result.history, pictures)
    if card.bits_per_dimension is not None:
        of = " of an image given its class" * bool(card.class_names)
        value = with_error(*card.bits_per_dimension, 3, "+-")
        print(f"{value} bits per dimension{of}: upper bound.")
    print(f"Saved in {args.output_dir}: the model, README.md, {', '.join(pictures)}.")
    if args.push_to_hub:
        print("Uploaded to", upload_folder(args.output_dir, args.hub_model_id))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    accelerator = begin(config)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        images = load_images(**arguments.image_settings(args))
    data, held_out = images["train"], images["validation"]
    image_training.check_images(args, stacked(data)[0], data.class_names)
    model, pixels = model_of(args, data)
    rows = tokens_of(data, pixels)
    scored = tokens_of(held_out, pixels, args.max_eval_images) if held_out else None
    evaluate = BoundEvaluation(scored, None, seed=config.seed) if scored else None
    fresh = not args.model_name_or_path
    settings = {name: getattr(args, name) for name in image_training.OBJECTIVE}
    optimizer = muon_adamw(model, config.learning_rate, muon_learning_rate=args.muon_learning_rate)
    result = train(
        model,
        RandomRatioObjective(pixels.num_values, config.seed, **settings),
        rows,
        config=config,
        eval_fn=evaluate,
        optimizer=optimizer,
        accelerator=accelerator,
        identity=image_training.image_identity(rows, model, settings, fresh=fresh),
        settings=tracked_settings(args, arguments.data_name(args), model),
        samples_fn=lambda model: {"samples": grid(draw_images(model, pixels, SHOWN, seed=0))},
        units_per_example={"values": pixels.num_pixels},
    )
    figures: dict[str, Any] = {"shape": pixels.shape, "num_values": pixels.num_values}
    figures["class_names"] = data.class_names
    if evaluate:
        bits = evaluate.figures(evaluate.nats(model, num_samples=16))["bits per token"]
        figures |= {"num_scored": len(evaluate), "bits_per_dimension": bits}
    if accelerator.is_main_process:
        given = (evaluate or rows).input_ids[:SHOWN].long().to(model.device)
        shown = drawings(model, pixels, given, SHOWN, args.guidance_scale)
        report(args, model, shown, result, figures)
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
