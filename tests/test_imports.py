"""Who may import whom: every import of the packages is held against the design's arrows.

Folder by folder (`ARROWS`), and within the two flat cores module by module (`CORE`), one way. A
unit is a core or a folder of a package; `__init__` modules re-export what their unit holds.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ARROWS: dict[str, set[str]] = {
    "ardm": {"ardm"},  # the core: never a folder
    "ardm.training": {"ardm.training"},  # knows no model, no text, no image
    "ardm.data": {"ardm.data", "ardm.training"},
    "ardm.metrics": {"ardm.metrics", "ardm.training"},
    "ardm.viewing": {"ardm.viewing", "ardm.training"},
    "ardm.hub": {"ardm.hub", "ardm", "ardm.data", "ardm.training"},
    "ardm.evaluation": {
        "ardm.evaluation",
        "ardm",
        "ardm.data",
        "ardm.training",
        "ardm.metrics",
    },
    "ardm.harness": {"ardm.harness", "ardm", "ardm.data", "ardm.training", "ardm.hub"},
    "ddpm": {"ddpm", "ardm.training"},
    "ddpm.models": {"ddpm.models", "ddpm", "ardm.training"},  # a network draws by itself
    "ddpm.data": {"ddpm.data", "ardm.training"},
    "ddpm.metrics": {"ddpm.metrics", "ddpm", "ardm.training"},
    "ddpm.hub": {"ddpm.hub", "ddpm", "ddpm.models", "ddpm.metrics", "ardm.training"},
    "ddpm.evaluation": {
        "ddpm.evaluation",
        "ddpm",
        "ddpm.models",
        "ddpm.data",
        "ddpm.metrics",
        "ardm.training",
    },
}

CORE: dict[str, dict[str, set[str]]] = {
    "ardm": {
        # the theory: no model, no data, no Hub
        "checks": set(),
        "randomness": set(),
        "id_checks": set(),
        "value_trees": set(),
        "stages": {"value_trees"},
        "reveals": {"id_checks", "stages"},
        "masking": {"checks", "id_checks", "randomness", "reveals", "stages"},
        "ranking": set(),
        "orders": {"ranking"},
        "arrangements": {"orders", "stages"},
        "plan_search": set(),
        "plans": {"checks", "plan_search"},
        "named_plans": {"checks", "plans"},
        "group_costs": {"checks", "plans"},
        # the network, and what counts as one
        "vocabulary": {"checks", "stages", "value_trees"},
        "model_classes": set(),
        "networks": {"model_classes", "vocabulary"},
        "configuration_checks": set(),
        "configuration_ardm": {"configuration_checks", "vocabulary"},
        "layers_ardm": {"configuration_ardm", "networks"},
        "version": set(),
        "code_files": {"version"},
        "pretrained_ardm": {"code_files", "configuration_ardm", "layers_ardm"},
        # the objects of the generation loop
        "guidance": {"networks"},
        "draws": set(),
        "canvas": {"arrangements", "orders", "randomness", "stages"},
        "logits_processing": {"canvas"},
        "stopping": {"canvas"},
        "streaming": {"canvas"},
        "selection": {"canvas", "draws", "orders", "randomness", "ranking"},
        "resampling": {"canvas", "randomness", "ranking"},
        "passes": {"group_costs", "named_plans", "plans", "resampling"},
        "decoding": {
            "arrangements",
            "canvas",
            "draws",
            "logits_processing",
            "networks",
            "orders",
            "passes",
            "resampling",
            "selection",
            "stopping",
            "streaming",
        },
        # from settings to these objects
        "setting_checks": {"checks", "named_plans"},
        "replacements": set(),
        "generation_config_ardm": {"orders", "replacements", "resampling", "setting_checks"},
        "inputs": {
            "arrangements",
            "canvas",
            "generation_config_ardm",
            "id_checks",
            "networks",
            "orders",
            "randomness",
            "stages",
            "vocabulary",
        },
        "assembly": {
            "canvas",
            "decoding",
            "draws",
            "generation_config_ardm",
            "guidance",
            "inputs",
            "logits_processing",
            "networks",
            "orders",
            "passes",
            "randomness",
            "resampling",
            "selection",
            "stopping",
            "streaming",
            "vocabulary",
        },
        "generation_output_ardm": set(),
        "generation_ardm": {
            "assembly",
            "decoding",
            "generation_config_ardm",
            "generation_output_ardm",
            "id_checks",
            "networks",
            "streaming",
        },
        # what a text costs
        "target_rows": {"checks", "id_checks", "masking", "networks", "stages", "vocabulary"},
        "masked_losses": {"id_checks", "masking", "networks", "reveals", "target_rows"},
        "likelihood": {
            "checks",
            "masked_losses",
            "networks",
            "randomness",
            "reveals",
            "target_rows",
            "stages",
        },
        "step_losses": {
            "group_costs",
            "likelihood",
            "masked_losses",
            "networks",
            "plans",
            "randomness",
            "target_rows",
        },
        "path_steps": {
            "arrangements",
            "networks",
            "orders",
            "plans",
            "ranking",
            "target_rows",
            "stages",
        },
        "path_likelihood": {
            "arrangements",
            "networks",
            "orders",
            "path_steps",
            "plans",
            "target_rows",
            "stages",
            "vocabulary",
        },
        "likelihood_ardm": {"likelihood", "path_likelihood", "step_losses"},
        # the model, with all of it
        "bound_loss": {"id_checks", "reveals", "stages", "vocabulary"},
        "modeling_ardm": {
            "bound_loss",
            "configuration_ardm",
            "generation_ardm",
            "generation_config_ardm",
            "id_checks",
            "layers_ardm",
            "likelihood_ardm",
            "networks",
            "pretrained_ardm",
            "stages",
            "vocabulary",
        },
        # the same for models of transformers' own classes
        "older_code": set(),
        "architectures": {"older_code"},
        "new_tokens": set(),
        "adopted_ardm": {
            "bound_loss",
            "code_files",
            "generation_ardm",
            "generation_config_ardm",
            "id_checks",
            "likelihood_ardm",
            "model_classes",
            "networks",
            "stages",
            "vocabulary",
        },
        "adoption_settings": {"checks", "new_tokens"},
        "adoption_trial": {"networks", "vocabulary"},
        "adoption": {
            "adopted_ardm",
            "adoption_settings",
            "adoption_trial",
            "architectures",
            "generation_ardm",
            "generation_config_ardm",
            "model_classes",
            "new_tokens",
            "vocabulary",
        },
        # what is minimised
        "objective": {
            "id_checks",
            "masking",
            "networks",
            "randomness",
            "reveals",
            "stages",
            "vocabulary",
        },
        "trainer_calls": set(),
        "collator": {
            "checks",
            "id_checks",
            "masking",
            "randomness",
            "reveals",
            "stages",
            "trainer_calls",
        },
    },
    "ddpm": {
        # the process q, and what a network says of it
        "checks": set(),
        "schedules": {"checks"},
        "respacing": set(),
        "gaussians": set(),
        "denoisers": set(),
        "tables": set(),
        "predictions": {"tables"},
        "variances": {"tables"},
        "forward_process": {"schedules", "tables", "variances"},
        # the process p, its likelihood and losses
        "reverse_process": {
            "checks",
            "denoisers",
            "forward_process",
            "predictions",
            "respacing",
            "variances",
        },
        "likelihood": {"denoisers", "gaussians", "predictions", "reverse_process"},
        "losses": {"likelihood", "reverse_process", "variances"},
        "diffusion": {"checks", "denoisers", "likelihood", "losses", "reverse_process"},
        # from noise to images
        "noise": set(),
        "single_steps": {"diffusion", "noise", "reverse_process"},
        "multistep": {"diffusion", "noise", "single_steps"},
        "unipc": {"diffusion", "multistep", "noise", "single_steps"},
        "steps": {"multistep", "single_steps", "unipc"},
        "predictors": {"denoisers", "diffusion", "reverse_process"},
        "intervals": {"checks"},
        "guides": {"checks", "intervals", "predictors", "reverse_process"},
        "conditions": {"denoisers", "guides", "predictors"},
        "conditioning": {"denoisers", "forward_process", "noise"},
        "contrasts": {"conditioning", "denoisers", "guides", "predictors"},
        "guidance": {
            "conditions",
            "contrasts",
            "denoisers",
            "guides",
            "predictors",
            "reverse_process",
            "steps",
        },
        "samplers": {
            "checks",
            "denoisers",
            "diffusion",
            "forward_process",
            "guidance",
            "noise",
            "predictions",
            "predictors",
            "respacing",
            "steps",
        },
        "editing": {
            "checks",
            "denoisers",
            "diffusion",
            "guidance",
            "predictions",
            "predictors",
            "respacing",
            "samplers",
        },
        "upsampling": {"conditioning", "denoisers", "diffusion", "noise", "samplers"},
        "drawing": {
            "denoisers",
            "diffusion",
            "editing",
            "guidance",
            "noise",
            "samplers",
            "upsampling",
        },
        # what is minimised
        "timesteps": {"checks"},
        "examples": {"denoisers", "noise"},
        "augmentation": set(),
        "objective": {
            "augmentation",
            "checks",
            "denoisers",
            "diffusion",
            "examples",
            "noise",
            "timesteps",
        },
        "classification": {
            "augmentation",
            "denoisers",
            "examples",
            "forward_process",
            "timesteps",
        },
    },
}

# What a Hub repository with custom code must carry, and all that may be expected where it runs.
# huggingface_hub comes with transformers, whose own configurations take their `strict` from it.
HUB_ENTRY = "modeling_ardm"
HUB_PACKAGES = {"torch", "transformers", "huggingface_hub"}

# Slow to import or not everywhere: imported where they are used, by functions.
LATE = {
    "accelerate",
    "datasets",
    "diffusers",
    "evaluate",
    "gradio",
    "lm_eval",
    "matplotlib",
    "PIL",
    "rich",
    "sacrebleu",
    "sklearn",
    "tensorboard",
    "trackio",
    "wandb",
}
# These are modules of `evaluate` and of lm-evaluation-harness themselves.
PLUGINS = {"ardm.metrics.metrics", "ardm.harness.model", "ardm.harness.surroundings"}

VERSION = "ardm.version"  # of both packages, which are one distribution
TELLS_VERSION = {"ddpm.models.code_files"}  # at the top of what it exports

Import = tuple[str, int, bool]  # dotted name, level, whether at the top of the module


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and path of every module of a package; `x/__init__.py` is called x.__init__."""
    for path in sorted((ROOT / package).rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


MODULES = dict(pair for package in ("ardm", "ddpm") for pair in modules(package))


def imports(source: str) -> list[Import]:
    """Every import in the source, at module level or inside functions."""
    found: list[Import] = []
    tree = ast.parse(source)
    late = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for branch in ast.walk(tree):
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test):
            late |= set(ast.walk(branch))
    for node in ast.walk(tree):
        top = node not in late
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, top))
    return found


def unit_of(module: str) -> str:
    """The core or folder that a module belongs to: "ardm" or "ardm.training"."""
    parts = module.split(".")
    return ".".join(parts[:2]) if (ROOT / parts[0] / "".join(parts[1:2])).is_dir() else parts[0]


def resolved(module: str, name: str, level: int) -> str:
    """The absolute name of what `module` imports."""
    if level == 0:
        return name
    base = module.split(".")[:-level]
    return ".".join([*base, name] if name else base)


def wrong_imports(module: str, source: str) -> list[str]:
    """What is wrong with the imports that a module makes of the project and of others."""
    unit = unit_of(module)
    package = module.split(".")[0]
    facade = module in (f"{package}.__init__", f"{package}.__main__")
    wrong = []
    for name, level, top in imports(source):
        root = name.split(".")[0]
        if level == 0 and root not in ("ardm", "ddpm", "recipes", "tests"):
            if root in LATE and top and module not in PLUGINS:
                wrong.append(f"{module} imports {root} at its top; import it where it is used")
            if root in LATE and unit == package:
                wrong.append(f"{module} imports {root}; the core does without it")
            continue
        target = resolved(module, name, level)
        if target == VERSION and (facade or module in TELLS_VERSION):
            continue
        own = {each for each in ARROWS if facade and each.startswith(package)}
        allowed = own | ARROWS[unit]
        if unit_of(target) not in allowed:
            wrong.append(f"{module} imports {target}; {unit} may import {sorted(allowed)}")
        elif level == 0 and not (unit_of(target) == "ardm.training" and unit != "ardm.training"):
            wrong.append(f"{module} imports {name} by its full name; expected a relative import")
        elif unit == "ardm.metrics" and level > 1:
            wrong.append(f"{module} imports {target}; `evaluate` copies siblings alone")
        elif unit == package and not facade and level == 1:
            if "." in name or not name:
                wrong.append(f"{module} imports {target}; the Hub export follows `from .x` alone")
            elif name not in CORE[package].get(module.split(".")[1], set()):
                wrong.append(f"{module} imports .{name}, which CORE does not say")
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_the_arrows_allow(module):
    assert wrong_imports(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("package", ["ardm", "ddpm"])
def test_core_graph_is_of_the_modules_that_exist_and_goes_one_way(package):
    graph = CORE[package]
    existing = {path.stem for path in (ROOT / package).glob("*.py")}
    existing -= {"__init__", "__main__"}
    assert set(graph) == existing
    done: set[str] = set()
    for module, allowed in graph.items():  # each imports only what stands above it
        assert allowed <= done, f"{module} imports {sorted(allowed - done)}, which stand below it"
        done.add(module)


@pytest.mark.parametrize("package", ["ardm", "ddpm"])
def test_core_graph_has_no_arrow_that_nothing_uses(package):
    for module, allowed in CORE[package].items():
        source = MODULES[f"{package}.{module}"].read_text(encoding="utf-8")
        used = {name for name, level, _ in imports(source) if level == 1}
        assert allowed == used, f"{module} no longer imports {sorted(allowed - used)}"


def test_folders_have_an_arrow_each():
    folders = {unit_of(module) for module in MODULES}
    assert folders == set(ARROWS)


def hub_closure() -> set[str]:
    """The core modules that the exported model reaches."""
    reached: set[str] = set()
    waiting = {HUB_ENTRY}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= CORE["ardm"][module] - reached
    return reached


def test_hub_closure_needs_torch_and_transformers_only():
    for module in sorted(hub_closure()):
        source = MODULES[f"ardm.{module}"].read_text(encoding="utf-8")
        roots = {name.split(".")[0] for name, level, _ in imports(source) if level == 0}
        foreign = roots - set(sys.stdlib_module_names)
        assert foreign <= HUB_PACKAGES, f"{module} needs {sorted(foreign - HUB_PACKAGES)}"


def test_hub_closure_holds_the_model():
    assert {"modeling_ardm", "configuration_ardm", "generation_ardm", "likelihood_ardm"} <= (
        hub_closure()
    )


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ardm.orders", "from .masking import random_ratio_mask"),
        ("ardm.likelihood", "def f():\n    from .modeling_ardm import ARDMModel"),
        ("ardm.likelihood", "from . import masking"),
        ("ardm.likelihood", "import ardm.masking"),
        ("ardm.likelihood", "from ardm.masking import random_ratio_mask"),
        ("ardm.likelihood", "from .training import evaluating"),
        ("ardm.likelihood", "from .training.processes import evaluating"),
        ("ardm.likelihood", "def f():\n    import accelerate"),
        ("ardm.training.loop", "from ..masking import IGNORED"),
        ("ardm.training.loop", "from ardm.masking import IGNORED"),
        ("ardm.training.loop", "from ddpm import UNet"),
        ("ardm.training.loop", "from recipes.train_ardm import main"),
        ("ardm.training.loop", "from accelerate import Accelerator"),
        ("ardm.metrics.bits", "from ..training import progress_bar"),
        ("ardm.metrics.bits", "from ..orders import TIE"),
        ("ardm.data.texts", "from ..metrics import bits_per_unit"),
        ("ardm.training.__init__", "from ..modeling_ardm import ARDMModel"),
        ("ardm.training.__init__", "from ..hub import load_folder"),
        ("ddpm.data.__init__", "from ..samplers import sample"),
        ("ardm.__init__", "import ddpm.unet"),
        ("ardm.__init__", "from ..tests import test_imports"),
        ("ddpm.samplers", "from ardm.orders import TIE"),
        ("ddpm.samplers", "from ardm import nelbo"),
        ("ddpm.samplers", "from ardm.version import __version__"),
        ("ddpm.__init__", "from ardm import nelbo"),
        ("ddpm.__main__", "from ardm.evaluation import run_facts"),
        ("ardm.__main__", "from ddpm.__main__ import main"),
        ("ddpm.samplers", "from .models import UNet"),
        ("ddpm.evaluation.report", "from ..hub import image_grid"),
        ("ddpm.hub.folder", "from ..evaluation import BoundEvaluation"),
    ],
)
def test_forbidden_import_is_found(module, source):
    assert wrong_imports(module, source)


def test_allowed_imports_pass():
    source = "import torch\nfrom .reveals import stratified_num_left\n"
    assert wrong_imports("ardm.likelihood", source) == []
    assert wrong_imports("ardm.hub.folder", "from ..modeling_ardm import ARDMModel") == []
    assert wrong_imports("ardm.metrics.bits", "from ardm.training import progress_bar") == []
    assert wrong_imports("ardm.training.loop", "def f():\n    import accelerate") == []
    assert wrong_imports("ddpm.noise", "from ardm.training import key_seed") == []
    assert wrong_imports("ddpm.__init__", "from ardm.version import __version__") == []
    assert wrong_imports("ddpm.__main__", "from ardm.training.commands import run_command") == []
