"""What is asked of saved image networks where the package cannot be imported.

    python without_package.py FOLDER NAME...    # FOLDER/answers.json, by name of a folder or a repo

Prints the number of networks that gave the package's own answers, bit for bit.
"""

import importlib.abc
import json
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel


@torch.no_grad()
def answers(model, classifier=None):
    """Predictions and images of a network, as lists: JSON keeps every bit of a float."""
    config, generator = model.config, torch.Generator().manual_seed(5)
    x = torch.randn(
        2, config.in_channels, config.image_size, config.image_size, generator=generator
    )
    t = torch.tensor([3, 40])
    if not hasattr(model, "sample"):
        return [model(x, t).tolist()]
    labels = torch.tensor([1, 0]) if config.num_classes else None
    given = {}
    if config.low_resolution:
        size = config.low_resolution
        given["low_res"] = (
            torch.rand(2, config.in_channels, size, size, generator=generator) * 2 - 1
        )
    found = [model(x, t, labels, **given)]
    for options in (
        {"sampler": "ddim", "steps": 5, "eta": 0.5},
        {"sampler": "dpm_solver++", "steps": 4},
        {"steps": 3, "clip": "dynamic"},
    ):
        if config.null_class:
            options["guidance_scale"] = 2.0
        if classifier is not None:
            options |= {"classifier": classifier, "classifier_scale": 1.5}
        found.append(model.sample(2, labels=labels, seed=0, progress=False, **given, **options))
    return [each.tolist() for each in found]


class Nowhere(importlib.abc.MetaPathFinder):
    """Finds the package nowhere, wherever it is."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in ("ardm", "ddpm"):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load(name, **settings):
    model = AutoModel.from_pretrained(name, trust_remote_code=True, **settings)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    return model


def check(name, expected, root):
    model = load(name)
    assert answers(model) == expected, name
    config = AutoConfig.from_pretrained(name, trust_remote_code=True)
    assert config.to_dict().items() >= {"model_type": model.config.model_type}.items()
    again, third = root / f"again {Path(name).name}", root / f"third.{Path(name).name}"
    model.save_pretrained(again, max_shard_size="20KB")
    assert len(list(again.glob("*.safetensors"))) > 2
    resaved = load(again)
    assert answers(resaved) == expected
    resaved.save_pretrained(third)
    assert answers(load(third, device_map="auto")) == expected
    for folder in (again, third):
        assert "--" not in json.dumps(json.loads((folder / "config.json").read_text())["auto_map"])
        if Path(name).is_dir():
            code = {file.name: file.read_bytes() for file in Path(name).glob("*.py")}
            assert {file.name: file.read_bytes() for file in folder.glob("*.py")} == code
            for file in Path(name).glob("diffusion_config.json"):
                assert (folder / file.name).read_bytes() == file.read_bytes()


def check_settings(name):
    """Precisions, kernels, and what is asked of a classifier together with a network."""
    half = load(name, dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.sample(1, labels=0, steps=2, progress=False).abs().max() <= 1
    for kernel in ("eager", "sdpa"):
        model = load(name, attn_implementation=kernel)
        assert model.config._attn_implementation == kernel


def check_newer(folder):
    """A repository of a newer version than its code: the package's own errors."""
    for file, changes, words in (
        (
            "diffusion_config.json",
            {"coming": 1},
            "settings that this version does not know, coming",
        ),
        ("diffusion_config.json", {"prediction": "score"}, "prediction is 'score'; expected"),
        ("config.json", {"attention_order": "newest"}, "attention_order is 'newest'; expected"),
    ):
        path = Path(folder) / file
        whole = path.read_text()
        path.write_text(json.dumps(json.loads(whole) | changes))
        try:
            load(folder)
        except Exception as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"{changes} was loaded")
        path.write_text(whole)


def main(root, names):
    sys.meta_path.insert(0, Nowhere())
    expected = json.loads((root / "answers.json").read_text())
    for name in names:
        check(name, expected[name], root)
    classes, classifier = (root / name for name in ("with-classes 1.0", "classifier"))
    assert answers(load(classes), load(classifier)) == expected["steered"]
    check_settings(classes)
    check_newer(classes)
    assert not {"ardm", "ddpm"} & set(sys.modules)
    print(len(names))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
