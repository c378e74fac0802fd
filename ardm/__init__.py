"""Order-agnostic autoregressive diffusion models (arXiv 2110.02037) on the Hugging Face stack.

`import ardm` makes the architecture known to transformers' Auto classes. Names and modules are
imported when they are first asked for: image models, which share `ardm.training`, load no text
model.
"""

import importlib
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from .configuration_ardm import ARDMConfig
from .version import __version__

if TYPE_CHECKING:
    from .adoption import adopt
    from .collator import RandomRatioCollator
    from .generation_ardm import ARDMGenerationMixin
    from .generation_config_ardm import ARDMGenerationConfig
    from .generation_output_ardm import ARDMGenerationOutput
    from .hub.export import export_code
    from .likelihood import NELBOOutput, nelbo
    from .masking import random_ratio_mask
    from .modeling_ardm import ARDMForMaskedLM, ARDMModel
    from .path_likelihood import log_prob
    from .plans import cosine_plan, optimal_plan, plan_cost, uniform_plan
    from .step_losses import StepLosses, measure_step_losses, per_step_losses

__all__ = [
    "ARDMConfig",
    "ARDMForMaskedLM",
    "ARDMGenerationConfig",
    "ARDMGenerationMixin",
    "ARDMGenerationOutput",
    "ARDMModel",
    "NELBOOutput",
    "RandomRatioCollator",
    "StepLosses",
    "__version__",
    "adopt",
    "cosine_plan",
    "export_code",
    "log_prob",
    "measure_step_losses",
    "nelbo",
    "optimal_plan",
    "per_step_losses",
    "plan_cost",
    "random_ratio_mask",
    "uniform_plan",
]

_HOMES = {
    "adoption": ("adopt",),
    "collator": ("RandomRatioCollator",),
    "generation_ardm": ("ARDMGenerationMixin",),
    "generation_config_ardm": ("ARDMGenerationConfig",),
    "generation_output_ardm": ("ARDMGenerationOutput",),
    "hub.export": ("export_code",),
    "likelihood": ("NELBOOutput", "nelbo"),
    "masking": ("random_ratio_mask",),
    "modeling_ardm": ("ARDMForMaskedLM", "ARDMModel"),
    "path_likelihood": ("log_prob",),
    "plans": ("cosine_plan", "optimal_plan", "plan_cost", "uniform_plan"),
    "step_losses": ("StepLosses", "measure_step_losses", "per_step_losses"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, or a module or folder of the package (PEP 562)."""
    if not name.isidentifier():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":  # a module that is there lacks something itself
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Deferred:
    """Stands for a model class in transformers' registry until something of it is asked for.

    Then the class itself takes its place there; who holds on to this object finds the class in it.
    """

    config_class = ARDMConfig

    def __init__(self, auto_class: Any, name: str):
        self._auto_class = auto_class
        self._name = name

    def _load(self) -> Any:
        model_class = __getattr__(self._name)
        self._auto_class.register(ARDMConfig, model_class, exist_ok=True)
        return model_class

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._load(), attribute)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """The class, for whoever derives from what the registry gave (PEP 560)."""
        return (self._load(),)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._load()

    def __hash__(self) -> int:
        return hash(self._load())

    def __reduce__(self) -> Any:  # a copy is made without a name first, which would never be found
        return _Deferred, (self._auto_class, self._name)


AutoConfig.register("ardm", ARDMConfig, exist_ok=True)
for _auto_class, _name in ((AutoModel, "ARDMModel"), (AutoModelForMaskedLM, "ARDMForMaskedLM")):
    _auto_class.register(ARDMConfig, _Deferred(_auto_class, _name), exist_ok=True)
