"""Trains a diffusion model of images, scores it, saves it with its card, and shows what it draws.

    accelerate launch recipes/train_ddpm.py            # scikit-learn's digits, 8 x 8 pixels
    accelerate launch recipes/train_ddpm.py --train_dir photos --image_size 64 --random_flip
    python recipes/train_ddpm.py --train_dir photos --image_size 64 --preset 64x64_diffusion
    accelerate launch --config_file recipes/accelerate/several_gpus.yaml recipes/train_ddpm.py

With no argument: 2 CPU cores, 4 to 5 minutes of training and 2 of scoring; 3.93 bits per dimension,
FID 0.07. The same command again resumes a stopped run; a finished one is only scored and saved
again, for example with more of --quality_steps 10 25 50 1000.
"""

import argparse
from dataclasses import replace

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
from ddpm.data import ImageDataset, load_images
from ddpm.evaluation import (
    BoundEvaluation,
    SampleEvaluation,
    arguments,
    check_fits,
    measure_quality,
    new_diffusion,
    new_network,
    new_objective,
    new_sample_evaluation,
    run_facts,
    run_identity,
    sample_grids,
    tracked_settings,
)
from ddpm.hub import (
    DEMO_FOLDER,
    CardFigures,
    Film,
    Likelihood,
    load_class_names,
    load_folder,
    model_facts,
    pictures_of,
    quality_facts,
    save_folder,
    tracked_samples,
)

DEFAULTS = {
    "output_dir": DEMO_FOLDER,
    "max_train_steps": 3000,
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
    add_training_arguments(parser, **DEFAULTS)
    arguments.add_evaluation_arguments(parser)
    return arguments.parse(parser, argv)


def chosen_model(args: argparse.Namespace, data: ImageDataset) -> tuple[UNet, GaussianDiffusion]:
    name = args.model_name_or_path
    if name is not None:
        model, diffusion = load_folder(name)
        check_fits(model, data, load_class_names(name), name)
        return model.float(), diffusion
    settings = arguments.network_settings(args)
    model = new_network(data.image_size, data.num_channels, data.num_classes, **settings)
    return model, new_diffusion(**arguments.process_settings(args))


def evaluations(
    args: argparse.Namespace,
    data: ImageDataset,
    held_out: ImageDataset | None,
    of: GaussianDiffusion,
) -> tuple[BoundEvaluation | None, SampleEvaluation | None]:
    """Made before the training: a wrong flag must not be found after it."""
    bound = None
    if held_out is not None:
        bound = BoundEvaluation(held_out, of, args.max_eval_images, seed=args.seed)
    return bound, new_sample_evaluation(data, held_out, of, **arguments.quality_settings(args))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    accelerator = begin(config)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        images = load_images(**arguments.image_settings(args))
    data, held_out = images["train"], images["validation"]
    model, diffusion = chosen_model(args, data)
    objective = new_objective(diffusion, model.config, **arguments.objective_settings(args))
    accelerator.register_for_checkpointing(objective)
    bound, quality = evaluations(args, data, held_out, diffusion)
    result = train(
        model,
        objective,
        data,
        config=config,
        eval_fn=bound,
        accelerator=accelerator,
        identity=run_identity(data, model, objective, fresh=args.model_name_or_path is None),
        settings=tracked_settings(args, data, model),
        samples_fn=tracked_samples(diffusion, data.image_shape, data.num_classes),
    )

    figures = CardFigures(
        **model_facts(model, diffusion, data.class_names), **run_facts(args, data, result)
    )
    if accelerator.is_main_process:  # before the scoring, which may take longer than the training
        save_folder(config.output_dir, model, diffusion, figures, result.history)
    if bound is not None:
        likelihood = Likelihood.of(arguments.held_out_name(args), len(bound), bound(model))
        figures = replace(figures, likelihood=likelihood)
    asked = (args.quality_steps, args.quality_samplers)
    measured = measure_quality(quality, model, diffusion, *asked)
    figures = replace(figures, **quality_facts(measured))
    if accelerator.is_main_process:
        film, shown = Film(), (model, diffusion, data.image_shape, data.num_classes)
        pictures = pictures_of(*sample_grids(*shown, callback=film)) | film.pictures()
        save_folder(config.output_dir, model, diffusion, figures, result.history, pictures)
        files = "README.md, samples.png, trajectory.gif, steps.png, loss_curve.png"
        print(f"Saved in {config.output_dir}: the model, {files}.")
        if args.push_to_hub:
            print("Uploaded to", upload_folder(config.output_dir, args.hub_model_id))
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
