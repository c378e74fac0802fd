"""Trains an upsampler: a diffusion of images that is given a small version of each (ADM-U).

    accelerate launch recipes/train_upsampler.py    # scikit-learn's digits, from 4 x 4 to 8 x 8
    python recipes/train_upsampler.py --train_dir photos --image_size 256 --low_resolution 64
    python recipes/train_ddpm.py --image_size 4 --output_dir runs/ddpm_small
    python recipes/train_upsampler.py --base_name_or_path runs/ddpm_small --max_noise_level 100

With no argument: 2 CPU cores, 4 to 5 minutes. Expected: 3.53 bits per dimension given the small
image. With a base model, which draws small images, the card also shows two stages: from noise to
4 x 4 to 8 x 8 pixels. The same command again resumes a stopped run.
"""

import argparse
from dataclasses import replace
from typing import Any

from ardm.training import (
    add_training_arguments,
    begin,
    recipe_parser,
    run_recipe,
    train,
    training_config,
    upload_folder,
)
from ddpm import GaussianDiffusion, UNet
from ddpm.conditioning import OwnLowResolution
from ddpm.data import ImageDataset, load_images
from ddpm.evaluation import (
    BoundEvaluation,
    arguments,
    check_fits,
    new_diffusion,
    new_network,
    new_objective,
    run_facts,
    run_identity,
    shown_images,
    tracked_settings,
    upsampling_arguments,
    upsampling_rows,
)
from ddpm.hub import (
    CardFigures,
    Likelihood,
    comparison_grid,
    load_class_names,
    load_folder,
    model_facts,
    save_folder,
    tracked_upsamples,
)
from ddpm.upsampling import check_stages

DEFAULTS = {
    "output_dir": "runs/ddpm_upsampler",
    "max_train_steps": 2000,
    "per_device_train_batch_size": 64,
    "learning_rate": 2e-3,
    "ema_decay": 0.995,
    "eval_steps": 1000,
    "checkpointing_steps": 500,
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    arguments.add_image_arguments(parser)
    arguments.add_model_arguments(parser)
    upsampling_arguments.add_upsampler_arguments(parser)
    add_training_arguments(parser, **DEFAULTS)
    arguments.add_evaluation_arguments(parser, quality=False)
    return arguments.parse(parser, argv)


def chosen_model(args: argparse.Namespace, data: ImageDataset) -> tuple[UNet, GaussianDiffusion]:
    name = args.model_name_or_path
    if name is not None:
        model, diffusion = load_folder(name)
        check_fits(model, data, load_class_names(name), name, upsampler=True)
        upsampling_arguments.continue_condition(model, args, name)
        return model.float(), diffusion
    settings = arguments.network_settings(args)
    settings |= upsampling_arguments.condition_settings(args, data.image_size)
    model = new_network(data.image_size, data.num_channels, data.num_classes, **settings)
    return model, new_diffusion(**arguments.process_settings(args))


def base_model(
    name: str | None, upsampler: UNet, device: Any
) -> tuple[UNet, GaussianDiffusion] | None:
    """The model whose images are enlarged on the card, checked before the training."""
    if name is None:
        return None
    model, diffusion = load_folder(name)
    check_stages(model, upsampler)
    return model.to(device), diffusion


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    accelerator = begin(config)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        images = load_images(**arguments.image_settings(args))
    data, held_out = images["train"], images["validation"]
    model, diffusion = chosen_model(args, data)
    size = model.config.low_resolution
    assert size is not None  # an upsampler
    base = base_model(args.base_name_or_path, model, accelerator.device)
    condition = OwnLowResolution(size, diffusion, args.max_noise_level)
    settings = arguments.objective_settings(args)
    objective = new_objective(diffusion, model.config, condition=condition, **settings)
    accelerator.register_for_checkpointing(objective)
    bound = None
    if held_out is not None:
        given = {"seed": args.seed, "condition": OwnLowResolution(size)}
        bound = BoundEvaluation(held_out, diffusion, args.max_eval_images, **given)
    shown = shown_images(held_out or data, size, data.class_names)
    result = train(
        model,
        objective,
        data,
        config=config,
        eval_fn=bound,
        accelerator=accelerator,
        identity=run_identity(data, model, objective, fresh=args.model_name_or_path is None),
        settings=tracked_settings(args, data, model),
        samples_fn=tracked_upsamples(diffusion, shown.low_res, shown.labels),
    )

    facts = model_facts(model, diffusion, data.class_names) | run_facts(args, data, result)
    figures = CardFigures(**facts)
    if bound is not None:
        likelihood = Likelihood.of(arguments.held_out_name(args), len(bound), bound(model))
        figures = replace(figures, likelihood=likelihood)
    if accelerator.is_main_process:
        rows = upsampling_rows(model, diffusion, shown, base, args.max_noise_level)
        pictures = {name: comparison_grid(each, cell_inches=0.9) for name, each in rows.items()}
        save_folder(config.output_dir, model, diffusion, figures, result.history, pictures)
        print(f"Saved in {config.output_dir}: the model, {', '.join(['README.md', *pictures])}.")
        if args.push_to_hub:
            print("Uploaded to", upload_folder(config.output_dir, args.hub_model_id))
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
