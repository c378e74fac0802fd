"""Uploads a saved model of any kind to the Hub, in one commit, and says how to run it elsewhere.

    python recipes/push_to_hub.py --model_name_or_path runs/mine --hub_model_id user/name
    python recipes/push_to_hub.py --model_name_or_path runs/ddpm --hub_model_id user/name --private
    python recipes/push_to_hub.py --model_name_or_path runs/mine --dry_run     # asks no Hub

Texts, adapters, pixels, image diffusion and its classifiers. The model is loaded first: what cannot
be loaded is not uploaded. Its card is completed with the name; without one, a card is written that
says what the model itself tells. Checkpoints, logs and whatever else is no part of a model stay,
and are named. Log in before with `hf auth login`, or set HF_TOKEN. After a failure the same command
goes on where it stopped; without a difference to what is there it changes nothing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ardm import hub
from ardm.hub.adapters import ADAPTER_CONFIG
from ardm.hub.answer_cards import ADAPTERS_LOADING
from ardm.training import (
    check_upload,
    files_to_upload,
    quieten,
    recipe_parser,
    run_recipe,
    upload_folder,
    write_text_atomically,
)
from ardm.training.card_checks import missing_in_card, with_name
from ardm.training.model_folders import read_json
from ddpm import hub as ddpm_hub

UNKNOWN: dict[str, Any] = {"license": "unknown"}  # nobody said which


def text_card(name: str, loaded: Any, folder: Path) -> str:
    facts = UNKNOWN | {"num_parameters": loaded[0].num_parameters()}
    facts["loading"] = ADAPTERS_LOADING if kind_of(folder) is ADAPTERS else None
    return hub.model_card(hub.CardFigures(model_name=name, **facts))


def pixels_card(name: str, loaded: Any, folder: Path) -> str:
    model, pixels = loaded
    facts = UNKNOWN | {"shape": pixels.shape, "num_values": pixels.num_values}
    facts |= {"num_parameters": model.num_parameters()}
    facts |= {"class_names": hub.load_image_classes(folder)}
    return hub.image_model_card(hub.ImageCardFigures(model_name=name, **facts))


def diffusion_card(name: str, loaded: Any, folder: Path) -> str:
    names = ddpm_hub.load_class_names(folder)
    facts = UNKNOWN | ddpm_hub.model_facts(loaded[0], loaded[1], names)
    return ddpm_hub.model_card(ddpm_hub.CardFigures(model_name=name, **facts))


def classifier_card(name: str, model: Any, folder: Path) -> str:
    config = model.config
    facts = UNKNOWN | {"num_parameters": model.num_parameters(), "class_names": config.class_names}
    facts |= {"image_size": config.image_size, "num_channels": config.in_channels}
    return ddpm_hub.classifier_card(ddpm_hub.ClassifierFigures(model_name=name, **facts))


class Kind(NamedTuple):
    load: Callable[[Path], Any]
    card: Callable[[str, Any, Path], str]
    module: str
    loaded: str


TEXT = Kind(hub.load_folder, text_card, "ardm.hub", "model, tokenizer")
ADAPTERS = Kind(hub.load_adapters, text_card, "ardm.hub", "model, tokenizer")
PIXELS = Kind(hub.load_image_folder, pixels_card, "ardm.hub", "model, pixels")
DIFFUSION = Kind(ddpm_hub.load_folder, diffusion_card, "ddpm.hub", "model, diffusion")
CLASSIFIER = Kind(ddpm_hub.load_classifier, classifier_card, "ddpm.hub", "classifier")


def how_to_load(kind: Kind, folder: Path, name: str) -> str:
    load = kind.load.__name__
    lines = f'from {kind.module} import {load}\n{kind.loaded} = {load}("{name}")'
    if kind is ADAPTERS:
        base = read_json(folder / ADAPTER_CONFIG)["base_model_name_or_path"]
        told = f', base="user/base")  # where others find {base}, a folder here'
        return lines[:-1] + told if Path(base).is_dir() else lines
    exported = read_json(folder / "config.json").get("auto_map", {})
    auto = max((each for each in exported if each.startswith("AutoModel")), default=None)
    how = f'from_pretrained("{name}", trust_remote_code=True)'
    plain = f"from transformers import {auto}\nmodel = {auto}.{how}"
    if kind is TEXT:
        plain += f"\n\nfrom transformers import AutoTokenizer\ntokenizer = AutoTokenizer.{how}"
    return f"{lines}\n\nor, without this package:\n\n{plain}" if auto else lines


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--model_name_or_path", default=hub.DEMO_FOLDER, help="the folder of a saved model")
    add("--hub_model_id", help="user/name, where to")
    add("--private", action="store_true", help="only you may see it")
    add("--commit_message", help="default: one that says how many files")
    add("--revision", help="the branch to write to, made if needed; default: main")
    add("--create_pr", action="store_true", help="open a pull request, main is left as it is")
    add("--dry_run", action="store_true", help="list what would be uploaded, and write nothing")
    return parser.parse_args(argv)


def kind_of(folder: Path) -> Kind:
    config = folder / "config.json"
    if not config.is_file():
        return ADAPTERS if (folder / ADAPTER_CONFIG).is_file() else TEXT
    images = {"ddpm_unet": DIFFUSION, "ddpm_classifier": CLASSIFIER}
    other = PIXELS if (folder / "images.json").is_file() else TEXT
    return images.get(str(read_json(config).get("model_type")), other)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(True)
    folder = Path(args.model_name_or_path)
    kind = kind_of(folder)
    if not args.dry_run and folder.is_dir():
        check_upload(args.hub_model_id, create_pr=args.create_pr)
    loaded = kind.load(folder)
    files = files_to_upload(folder)
    name, card = args.hub_model_id or "user/name", folder / "README.md"
    old = card.read_text(encoding="utf-8") if card.is_file() else None
    new = kind.card(name, loaded, folder) if old is None else with_name(old, name)
    if old is None:
        print("There is no README.md: one is written, of what the model itself tells.")
    for missing in missing_in_card(new, files.sizes):
        print(f"README.md: {missing}.")
    if args.dry_run:
        sizes = files.sizes | {card.name: len(new.encode())}
        lines = [f"{size:>14,}  {path}" for path, size in sorted(sizes.items())]
        total = f"{sum(sizes.values()):>14,}  bytes of {len(sizes)} files"
        print(*lines, f"{total} would be uploaded to {name}.", sep="\n")
    if files.left:
        print(f"No part of the model, not uploaded: {', '.join(files.left)}.")
    if args.dry_run:
        return
    if new != old:
        write_text_atomically(card, new)
    how = {"commit_message": args.commit_message, "revision": args.revision}
    done = upload_folder(folder, name, args.private or None, create_pr=args.create_pr, **how)
    print(f"Uploaded to {done}\n\n{how_to_load(kind, folder, name)}")


if __name__ == "__main__":
    run_recipe(main)
