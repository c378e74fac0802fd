"""Trains a diffusion model of images, scores it, saves it with its card, and shows what it draws.

    accelerate launch recipes/train_ddpm.py                                       # scikit-learn's digits, 8 x 8 pixels
    accelerate launch recipes/train_ddpm.py --train_dir photos --image_size 64 --preset 64x64_diffusion --random_flip
    accelerate launch --config_file recipes/accelerate/several_gpus.yaml recipes/train_ddpm.py --mixed_precision bf16

With no argument: 2 CPU cores, 4 to 5 minutes of training and 2 of scoring; 3.93 bits per dimension,
    FID 0.07.
The same command again resumes a stopped run; a finished one is only scored and saved again, for
example with more of --quality_steps 10 25 50 1000.
"""

import argparse
import shlex
import sys
import time
from typing import Any

from ardm.hub.cards import machine
from ardm.hub.folder import check_upload, upload_folder
from ardm.training.files import check_writable
from ardm.training.launching import run_recipe
from ardm.training.loop import (
    add_training_arguments,
    make_accelerator,
    quieten,
    train,
    training_config,
)
from ddpm import GaussianDiffusion
from ddpm.data.images import add_image_arguments, data_name, load_images
from ddpm.evaluation.arguments import add_model_arguments, new_diffusion, new_network, new_objective
from ddpm.evaluation.evaluation import BoundEvaluation, SampleEvaluation, extractor_of
from ddpm.evaluation.report import card_facts, draw_pictures, measure_quality
from ddpm.hub.cards import CardFigures
from ddpm.hub.folder import load_folder, save_folder


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_image_arguments(parser)
    add_model_arguments(parser)
    add_training_arguments(
        parser,
        output_dir="runs/ddpm",
        max_train_steps=3000,
        per_device_train_batch_size=64,
        learning_rate=2e-3,
        ema_decay=0.995,
        eval_steps=1000,
        checkpointing_steps=500,
    )
    parser.add_argument(
        "--max_eval_images", type=int, default=180, help="held-out images whose bound is estimated"
    )
    parser.add_argument(
        "--num_quality_images", type=int, default=500, help="samples behind each FID; 0 = no FID"
    )
    parser.add_argument(
        "--quality_steps", nargs="+", default=["10", "25", "50"], help="of the table of FID"
    )
    parser.add_argument(
        "--inception_weights",
        help="pt_inception-2015-12-05-6726825d.pth: FID by Inception's features",
    )
    parser.add_argument("--model_name_or_path", help="go on from a saved model and its diffusion")
    parser.add_argument(
        "--push_to_hub", action="store_true", help="upload the result to --hub_model_id"
    )
    parser.add_argument("--hub_model_id", help="user/name")
    return parser.parse_args(argv)


def sample_evaluation(
    args: argparse.Namespace, images: Any, diffusion: GaussianDiffusion
) -> SampleEvaluation | None:
    """Made before the training: a wrong flag must not be found after it."""
    if args.num_quality_images == 0:
        return None
    for steps in args.quality_steps:
        diffusion.respace(steps)
    extractor = args.inception_weights or extractor_of(
        images, data_name(args)
    )  # None without labels
    return extractor and SampleEvaluation(
        images["train"], extractor, args.num_quality_images, seed=args.seed
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    if args.push_to_hub:
        check_upload(args.hub_model_id)
    check_writable(config.output_dir)
    accelerator = make_accelerator(config)
    quieten(accelerator.is_main_process)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        images = load_images(args)
    data = images["train"]
    num_classes = None if data.class_names is None else len(data.class_names)
    if args.model_name_or_path is None:
        model = new_network(args, data.image_size, data.num_channels, num_classes)
        diffusion = new_diffusion(args)
    else:
        model, diffusion = load_folder(args.model_name_or_path)
    objective = new_objective(args, diffusion)
    accelerator.register_for_checkpointing(objective)
    bound = None
    if images["validation"] is not None:
        bound = BoundEvaluation(
            images["validation"], diffusion, args.max_eval_images, seed=config.seed
        )
    evaluation = sample_evaluation(args, images, diffusion)
    result = train(model, objective, data, config=config, eval_fn=bound, accelerator=accelerator)
    figures = card_facts(args, model, diffusion, data) | {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "wall_clock_seconds": result.seconds,
        "command": f"accelerate launch {shlex.join(sys.argv)}",
    }
    if (
        accelerator.is_main_process
    ):  # before the scoring, which may take longer than it did to train
        save_folder(args.output_dir, model, diffusion, CardFigures(**figures), result.history)
    if bound is not None:
        figures["likelihood"] = bound.likelihood(model, data_name(args))
    if evaluation is not None:
        figures |= {
            "quality": measure_quality(evaluation, model, diffusion, args.quality_steps),
            **evaluation.about(),
        }
    if accelerator.is_main_process:
        pictures = draw_pictures(
            model, diffusion, (data.num_channels, data.image_size, data.image_size), num_classes
        )
        save_folder(
            args.output_dir, model, diffusion, CardFigures(**figures), result.history, pictures
        )
        print(
            f"Saved in {args.output_dir}: the model, README.md, samples.png, steps.png,"
            " loss_curve.png."
        )
        if args.push_to_hub:
            print("Uploaded to", upload_folder(args.output_dir, args.hub_model_id))
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
