"""Who may import whom: every import in the packages' sources is held against the design's graph."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALL = None  # may import every module of its package

GRAPH: dict[str, dict[str, set[str] | None]] = {
    "ardm": {
        "__init__": ALL,
        # the theory: no model, no data, no Hub
        "randomness": set(),
        "orders": set(),
        "plans": set(),
        "stages": set(),
        "masking": {"randomness"},
        "scoring": {"masking"},
        "likelihood": {"masking", "randomness", "scoring", "stages"},
        "step_losses": {"likelihood", "plans", "randomness", "scoring"},
        "path_likelihood": {"orders", "plans", "scoring"},
        # the model and its generation
        "configuration_ardm": set(),
        "layers_ardm": {"configuration_ardm"},
        "generation_config_ardm": set(),
        "draws": {"generation_config_ardm"},
        "guidance": set(),
        "canvas": {"orders", "randomness"},
        "selection": {"canvas", "orders", "randomness"},
        "resampling": {"canvas", "orders", "randomness"},
        "passes": {"plans", "resampling"},
        "processing": {"canvas"},
        "endings": {"canvas"},
        "streaming": {"canvas"},
        "decoding": {
            "canvas", "draws", "endings", "guidance", "passes", "processing", "resampling", "selection", "streaming",
        },
        "assembly": {"generation_config_ardm", "orders", "passes", "resampling", "selection"},
        "generation_ardm": {
            "assembly", "canvas", "decoding", "draws", "endings", "generation_config_ardm", "guidance", "masking",
            "orders", "processing", "stages", "streaming",
        },
        "modeling_ardm": {
            "configuration_ardm", "generation_ardm", "generation_config_ardm", "layers_ardm", "masking",
            "stages",
        },
        "adoption": {
            "configuration_ardm", "generation_ardm", "generation_config_ardm", "likelihood", "masking",
            "orders", "plans", "stages",
        },
        # looking at generation
        "colours": set(),
        "traces": set(),
        "watching": {"colours", "traces"},
        "pages": {"colours", "files", "traces"},
        # data
        "texts": set(),
        "tokenization": set(),
        "data": {"texts", "tokenization"},
        "corpora": {"data", "texts", "tokenization"},
        "collator": {"masking"},
        # what is minimised and what is reported
        "objective": {"masking"},
        "bits": set(),
        "evaluation": {"bits", "likelihood"},
        "step_report": {"files", "plans", "step_losses"},
        "sample_statistics": set(),
        "external_scorers": set(),
        "generative_perplexity": {"bits", "external_scorers", "sample_statistics"},
        "metrics": {"bits", "external_scorers", "generative_perplexity", "sample_statistics"},
        # training: knows no model and no text
        "optim": set(),
        "files": set(),
        "checkpoints": {"files"},
        "precision": set(),
        "samples": set(),
        "training_config": set(),
        "averaging": set(),
        "run": {"averaging", "checkpoints", "samples", "training_config"},
        "training": {"checkpoints", "precision", "run", "samples", "training_config"},
        "launching": set(),
        "timing": set(),
        # the Hub
        "cards": set(),
        "hub": {"cards", "files", "configuration_ardm", "modeling_ardm", "likelihood", "plans"},
        # the evaluation harness
        "harness_requests": set(),
        "harness_options": {"hub", "launching"},
        "harness": {"generation_config_ardm", "harness_options", "harness_requests", "likelihood", "path_likelihood"},
    },
    "ddpm": {
        "__init__": ALL,
        # the process and what a network says of it: no network
        "schedules": set(),
        "respacing": set(),
        "gaussians": set(),
        "networks": set(),
        "tables": set(),
        "predictions": {"tables"},
        "variances": {"tables"},
        "losses": {"gaussians", "variances"},
        "forward_process": {"schedules", "tables", "variances"},
        "diffusion": {
            "forward_process", "gaussians", "losses", "networks", "predictions", "progress", "respacing", "tables",
            "variances",
        },
        # from noise to images
        "noise": set(),
        "steps": {"diffusion", "noise"},
        "samplers": {"diffusion", "networks", "noise", "predictions", "progress", "steps"},
        "editing": {"diffusion", "networks", "predictions", "progress", "samplers"},
        "drawing": {"diffusion", "networks", "noise", "samplers"},
        # training
        "resampling": set(),
        "objective": {"diffusion", "noise", "pixels", "resampling"},
        # the networks
        "presets": set(),
        "guided_diffusion": {"files"},
        "configuration_unet": {"presets"},
        "layers_unet": {"configuration_unet"},
        "unet": {"configuration_unet", "guided_diffusion", "layers_unet"},
        "classifier": {"configuration_unet", "layers_unet", "unet"},
        "guidance": {"diffusion", "classifier"},
        "peers": {"configuration_unet"},
        # how good images are
        "progress": set(),
        "features": {"networks"},
        "feature_statistics": {"features"},
        "distances": set(),
        "inception": {"features"},
        "feature_classifier": {"features"},
        "metrics": {"distances", "feature_statistics", "features", "inception"},
        "evaluation": {
            "cards", "diffusion", "drawing", "feature_classifier", "losses", "metrics", "networks", "noise", "pixels",
        },
        "report": {"arguments", "cards", "data", "diffusion", "drawing", "evaluation", "networks", "pictures"},
        "arguments": {
            "configuration_unet", "diffusion", "losses", "objective", "predictions", "resampling", "schedules", "unet",
            "variances",
        },
        # data, pictures, the Hub
        "pixels": set(),
        "sources": {"pixels"},
        "data": {"pixels", "sources"},
        "files": set(),
        "pictures": {"files", "pixels"},
        "cards": set(),
        "hub": {"cards", "diffusion", "files", "unet"},
    },
}  # fmt: skip

# What a Hub repository with custom code must carry, and all that may be expected where it runs.
# huggingface_hub comes with transformers, whose own configurations take their `strict` from it.
HUB_ENTRIES = {"modeling_ardm", "adoption"}
HUB_PACKAGES = {"torch", "transformers", "huggingface_hub"}

MODULES = [(package, path) for package in GRAPH for path in sorted((ROOT / package).rglob("*.py"))]


def imports(source: str) -> list[tuple[str, int]]:
    """(dotted name, level) of every import in the source, at module level or inside functions."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def graph_violations(package: str, module: str, source: str) -> list[str]:
    """What is wrong with the imports that `module` makes of the project."""
    if module not in GRAPH[package]:
        return [f"{package}/{module}.py is not in GRAPH; say there what it may import"]
    allowed, wrong = GRAPH[package][module], []
    for name, level in imports(source):
        root = name.partition(".")[0]
        if level == 0 and root in {*GRAPH, "recipes", "tests"} - (
            {package} if module == "__init__" else set()
        ):
            wrong.append(
                f"{module} imports {name}; siblings are reached by `from .x import Y` alone"
            )
        elif level > 1 or (level == 1 and (not name or "." in name)):
            wrong.append(
                f"{module} has `from {'.' * level}{name} import ...`; expected `from .x import Y`"
            )
        elif level == 1 and allowed is not ALL and name not in allowed:
            wrong.append(f"{module} imports .{name}; it may import {sorted(allowed)}")
    return wrong


def hub_closure() -> set[str]:
    """The existing modules that the Hub entries reach."""
    reached: set[str] = set()
    waiting = {name for name in HUB_ENTRIES if (ROOT / "ardm" / f"{name}.py").exists()}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        source = (ROOT / "ardm" / f"{module}.py").read_text(encoding="utf-8")
        waiting |= {name for name, level in imports(source) if level == 1} - reached
    return reached


def foreign_packages(source: str) -> set[str]:
    """Packages that are imported and are neither ours nor the standard library's."""
    roots = {name.partition(".")[0] for name, level in imports(source) if level == 0}
    return roots - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("package", "path"), MODULES, ids=[f"{p}-{path.stem}" for p, path in MODULES]
)
def test_module_imports_what_the_graph_allows(package, path):
    assert path.parent == ROOT / package, f"{path} lies in a sub-package; the packages are flat"
    assert graph_violations(package, path.stem, path.read_text(encoding="utf-8")) == []


def test_hub_closure_needs_torch_and_transformers_only():
    for module in sorted(hub_closure()):
        foreign = foreign_packages((ROOT / "ardm" / f"{module}.py").read_text(encoding="utf-8"))
        assert foreign <= HUB_PACKAGES, (
            f"{module} needs {sorted(foreign - HUB_PACKAGES)} on the Hub"
        )


def test_hub_closure_holds_the_model():
    assert {"modeling_ardm", "configuration_ardm", "generation_ardm"} <= hub_closure()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("orders", "from .masking import random_ratio_mask"),
        ("likelihood", "def f():\n    from .modeling_ardm import ARDMModel"),
        ("likelihood", "from . import masking"),
        ("likelihood", "import ardm.masking"),
        ("likelihood", "from ardm.masking import random_ratio_mask"),
        ("training", "from ddpm import UNet"),
        ("training", "from recipes.train_ardm import main"),
        ("__init__", "import ddpm.unet"),
        ("__init__", "from ..tests import test_imports"),
        ("sampling", ""),
    ],
)
def test_forbidden_import_is_found(module, source):
    assert graph_violations("ardm", module, source)


def test_allowed_imports_pass():
    source = "import torch\nfrom .masking import random_ratio_mask\nfrom .scoring import Draws"
    assert graph_violations("ardm", "likelihood", source) == []
    assert (
        graph_violations("ardm", "__init__", "from .likelihood import nelbo\nimport ardm.hub") == []
    )


def test_foreign_package_is_found_inside_a_function():
    assert foreign_packages("import math\ndef f():\n    import datasets.utils") == {"datasets"}
