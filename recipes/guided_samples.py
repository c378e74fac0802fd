"""Steers a diffusion model three ways, and shows what guidance gives and what it takes.

    python recipes/guided_samples.py                # trains on scikit-learn's digits what it needs

With images of your own it takes --model_name_or_path, --classifier_name_or_path and
--weaker_name_or_path of models that were trained on them.
Writes into --output_dir: scales.png (a class a row, at growing scales, from the same noise),
function.png (a guide that is no classifier), curves.png and README.md (FID, precision, recall and a
clean classifier's accuracy by scale, of classifier, classifier-free and auto-guidance). The model
needs a null class (train_ddpm.py --label_dropout): to the classifier it is an unconditional one.
2 CPU cores: about 20 minutes. Digits: a classifier's best FID is 0.16, at scale 2 (0.52 at 0).
"""

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ardm.training import check_writable, quieten, run_recipe, write_atomically
from ardm.training.card_parts import machine
from ardm.training.local_paths import command
from ddpm import UNet, autoguidance, classifier_free_guidance, classifier_guidance
from ddpm.data import load_images
from ddpm.evaluation import (
    SampleEvaluation,
    arguments,
    extractor_of,
    guided_grids,
    guided_quality,
    quality_by_scale,
)
from ddpm.guides import Guide
from ddpm.hub import comparison_grid, load_classifier, load_folder
from ddpm.hub.guidance_report import guidance_curves, guidance_report

RECIPES = Path(__file__).parent
NOTHING = classifier_free_guidance(0.0)  # makes a network with a null class an unconditional one
EACH = 4  # images of a class in a picture
SHOWN = (0.0, 1.0, 3.0, 10.0)
SCALES = {
    "classifier": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "classifier-free": (0.0, 1.0, 1.5, 2.0, 4.0, 8.0),
    "auto": (1.0, 1.5, 2.0, 3.0, 4.0),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    for name in ("model", "classifier", "weaker"):
        text = "a saved folder, or user/name; nothing = all three are trained here, on digits"
        parser.add_argument(f"--{name}_name_or_path", help=text)
    parser.add_argument("--output_dir", default="runs/guided")
    parser.add_argument("--num_images", type=int, default=500, help="behind each figure")
    parser.add_argument("--steps", default="25", help="of DDIM, for the figures")
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_image_arguments(parser)
    return parser.parse_args(argv)


def trained(folder: Path, recipe: str, *flags: str) -> str:
    """A model of digits by another recipe; one that is there is taken."""
    words = [*flags, "--output_dir", str(folder)]
    if not (folder / "model.safetensors").exists():
        print("python", f"recipes/{recipe}", *words, flush=True)
        subprocess.run([sys.executable, RECIPES / recipe, *words], check=True)
    return str(folder)


def names_of_models(args: argparse.Namespace) -> list[str]:
    given = [args.model_name_or_path, args.classifier_name_or_path, args.weaker_name_or_path]
    if all(given):
        return given
    if any(given) or args.train_file or args.train_dir or args.dataset_name:
        raise ValueError(
            "got some of model, classifier, weaker model and images; expected all of them, or"
            " none, which trains the three on digits."
        )
    folder = Path(args.output_dir)
    quick = ("--label_dropout", "0.1", "--num_quality_images", "0")
    model = trained(folder / "model", "train_ddpm.py", *quick)
    weaker = trained(folder / "weaker", "train_ddpm.py", *quick, "--max_train_steps", "300")
    same = ("--diffusion_name_or_path", model)
    return [model, trained(folder / "classifier", "train_classifier.py", *same), weaker]


def by_classifier(classifier: Any, scale: float) -> list[Guide]:
    return [NOTHING, classifier_guidance(classifier, scale=scale)]


def by_mean(mean: float) -> list[Guide]:
    """A guide that is no classifier: images of this mean, whatever they show."""

    def log_probability(x: Tensor, t: Tensor) -> Tensor:
        return -300 * (x.flatten(1).mean(1) - mean) ** 2

    return [classifier_guidance(log_probability)]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(True)
    check_writable(args.output_dir)
    names = names_of_models(args)
    model, diffusion = load_folder(names[0])
    classifier = load_classifier(names[1])
    weaker: UNet = load_folder(names[2])[0]
    images = load_images(**arguments.image_settings(args))
    extractor = extractor_of(images["train"], images["validation"], arguments.data_name(args))
    if extractor is None:
        raise ValueError("the images have no classes; expected some to steer to.")

    grids = partial(guided_grids, model, diffusion, each=EACH, seed=args.seed)
    scales = {f"scale {scale:g}": by_classifier(classifier, scale) for scale in SHOWN}
    means = {f"mean {mean:g}": by_mean(mean) for mean in (-0.6, -0.4, -0.2, 0.0)}
    titles = ("Classifier guidance: a class a row, the same noise everywhere", "Guided by the mean")
    content = {
        "scales.png": comparison_grid(grids(scales), titles[0], EACH),
        "function.png": comparison_grid(grids(means), titles[1], EACH),
    }

    evaluation = SampleEvaluation(images["train"], extractor, args.num_images, seed=args.seed)
    options = {"sampler": "ddim", "steps": args.steps}
    makers: list[Any] = [partial(by_classifier, classifier), classifier_free_guidance]
    makers.append(partial(autoguidance, weaker))
    guides = {name: (make, SCALES[name]) for name, make in zip(SCALES, makers, strict=True)}
    measure = partial(guided_quality, evaluation, model, diffusion, **options)
    curves = quality_by_scale(measure, guides)
    content["curves.png"] = guidance_curves(curves)
    facts = {
        "Samples": f"{args.num_images:,} behind each figure, DDIM, {args.steps} steps",
        "Features and accuracy": extractor.name,
        "Seed": args.seed,
        "Command": f"`{command(sys.argv)}`",
        "Machine": machine(),
        "Date": time.strftime("%Y-%m-%d"),
    }
    content["README.md"] = guidance_report(curves, facts, list(content)).encode()
    for file, made in content.items():
        write_atomically(Path(args.output_dir) / file, made)
    print(f"Saved in {args.output_dir}: {', '.join(content)}.")


if __name__ == "__main__":
    run_recipe(main)
